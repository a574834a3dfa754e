import { createHash } from 'node:crypto'
import { z } from 'zod'
import {
  AdapterMetadata,
  adapterTensorSpecs,
  metadataStrings,
  type TensorSpec,
} from '../shared/adapter-file.ts'
import { QuartetError } from '../shared/errors.ts'
import { type FileTensor, parseSafeTensors, serializeSafeTensors } from '../shared/safetensors.ts'
import { maxAdapterBytes } from '../shared/wire.ts'
import type { Parameters } from './loss/loss-model.ts'
import type { Moments } from './optimizer.ts'
import type { Provenance } from './provenance.ts'
import type { TrainRecord } from './record.ts'
import type { TrainState } from './train.ts'

/**
 * A training's state as a file: safetensors with `parameters/…`, `first/…` and `second/…` (the optimiser's means, of which
 * Muon has the first alone) and `best/…` in f32, and the rest as JSON in `state`. Shuffles depend on the seed and the step
 * alone, so the step is the position among the batches as well.
 */

export const checkpointFormat = 'quartet-checkpoint/1'

/** Values, two means and the best values in f32 take eight times an adapter's 16-bit tensors; the rest is history. */
export const maxCheckpointBytes = 10 * maxAdapterBytes

/** The start of a training, by the names that a reader knows: data hashes, settings, the backbone. */
export type TrainingIdentity = Readonly<Record<string, string>>

const number = z.number()
const SavedRecord: z.ZodType<TrainRecord> = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('step'),
    step: z.int(),
    loss: number,
    gradientNorm: number,
    rateFactor: number,
    tokens: z.int(),
    tokensPerSecond: number,
  }),
  z.strictObject({ type: z.literal('evaluation'), step: z.int(), devLoss: number }),
  z.strictObject({ type: z.literal('untuned'), devLoss: number }),
])

const State = z.strictObject({
  identity: z.record(z.string(), z.string()),
  /** The adapter's, as its file will hold them. */
  metadata: AdapterMetadata,
  origin: z.record(z.string(), z.string()),
  step: z.int().min(0),
  updates: z.record(z.string(), z.int().min(1)),
  /** Tensors that Muon trains. */
  muon: z.array(z.string()).default([]),
  best: z.strictObject({ step: z.int(), devLoss: number }).optional(),
  history: z.array(SavedRecord),
  seconds: number,
})

/** A checkpoint's description of its training. */
export interface CheckpointTraining {
  readonly identity: TrainingIdentity
  readonly metadata: AdapterMetadata
  /** The `train.*` keys of its adapter that are known before training. */
  readonly origin: Provenance
}

export function encodeCheckpoint(
  state: TrainState,
  { identity, metadata, origin }: CheckpointTraining,
): Uint8Array<ArrayBuffer> {
  const { best, history, moments, parameters, seconds, step } = state
  const updates = Object.fromEntries([...moments].map(([name, { updates }]) => [name, updates]))
  const muon = [...moments].flatMap(([name, { rule }]) => (rule === 'muon' ? [name] : []))
  const json = new TextEncoder().encode(
    JSON.stringify({
      identity,
      metadata: metadataStrings(metadata),
      origin,
      step,
      updates,
      muon,
      ...(best && { best: { step: best.step, devLoss: best.devLoss } }),
      history: [...history],
      seconds,
    }),
  )
  const part = (of: string, values: Iterable<readonly [string, Float32Array]>) =>
    [...values].map(([name, data]): [string, FileTensor] => [`${of}/${name}`, floats(data)])
  const tensors = new Map<string, FileTensor>([
    ...part('parameters', parameters),
    ...part(
      'first',
      [...moments].map(([name, { first }]) => [name, first]),
    ),
    ...part(
      'second',
      [...moments].flatMap(([name, kept]) => (kept.rule === 'adamw' ? [[name, kept.second] as const] : [])),
    ),
    ...part('best', best?.parameters ?? []),
    ['state', { dtype: 'U8', shape: [json.length], data: json }],
  ])
  return serializeSafeTensors({
    metadata: { format: checkpointFormat, sha256: contentHash(tensors) },
    tensors,
  })
}

const floats = (values: Float32Array): FileTensor => ({
  dtype: 'F32',
  shape: [values.length],
  data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
})

function contentHash(tensors: ReadonlyMap<string, FileTensor>): string {
  const hash = createHash('sha256')
  for (const [name, { data }] of tensors) hash.update(`${name}\0${data.length}\0`).update(data)
  return hash.digest('hex')
}

/**
 * The state in a checkpoint of the same training. Throws `checkpoint_invalid` for a file that is damaged or no
 * checkpoint, and `conflict` that names what has changed for one of another training.
 */
export function decodeCheckpoint(
  file: Uint8Array,
  { identity, specs }: { identity: TrainingIdentity; specs: ReadonlyMap<string, TensorSpec> },
): TrainState {
  const read = readCheckpoint(file)
  checkIdentity(read.state.identity, identity)
  return stateOf(read, specs)
}

/** Whether a file says that it is a checkpoint, whatever else is wrong with it. */
export function isCheckpoint(file: Uint8Array): boolean {
  try {
    return parseSafeTensors(file).metadata.format === checkpointFormat
  } catch {
    return false
  }
}

/** A checkpoint by itself: the training it is of, and how far it has come. Throws `checkpoint_invalid`. */
export function openCheckpoint(
  file: Uint8Array,
): Omit<CheckpointTraining, 'identity'> & { readonly state: TrainState } {
  const read = readCheckpoint(file)
  const { metadata, origin } = read.state
  return { metadata, origin, state: stateOf(read, adapterTensorSpecs(metadata)) }
}

function stateOf(
  { state, tensors }: ReturnType<typeof readCheckpoint>,
  specs: ReadonlyMap<string, TensorSpec>,
): TrainState {
  const part = (of: string, names: Iterable<string>): Parameters =>
    new Map(
      [...names].map((name) => [
        name,
        floatsOf(tensors, { name: `${of}/${name}`, length: sizeOf(specs, name) }),
      ]),
    )
  const updated = Object.keys(state.updates)
  const first = part('first', updated)
  const second = part(
    'second',
    updated.filter((name) => !state.muon.includes(name)),
  )
  const moments = new Map(
    [...first].map(([name, values]): [string, Moments] => {
      const squares = second.get(name)
      const mean = { updates: state.updates[name] ?? 0, first: values }
      return [
        name,
        squares === undefined ? { rule: 'muon', ...mean } : { rule: 'adamw', ...mean, second: squares },
      ]
    }),
  )
  const { best, history, seconds, step } = state
  return {
    step,
    history,
    seconds,
    moments,
    parameters: part('parameters', specs.keys()),
    best: best && { ...best, parameters: part('best', specs.keys()) },
  }
}

function readCheckpoint(file: Uint8Array) {
  let parsed: ReturnType<typeof parseSafeTensors>
  try {
    parsed = parseSafeTensors(file)
  } catch (cause) {
    throw damaged(cause instanceof Error ? cause.message : 'it cannot be read', cause)
  }
  const { metadata, tensors } = parsed
  if (metadata.format !== checkpointFormat)
    throw damaged(`its format is ${metadata.format ?? 'unknown'} and not ${checkpointFormat}`)
  if (metadata.sha256 !== contentHash(tensors)) throw damaged('its content does not match its hash')
  const state = State.safeParse(jsonOf(tensors.get('state')))
  if (!state.success) throw damaged(z.prettifyError(state.error).replaceAll('\n', ' '))
  return { state: state.data, tensors }
}

/** Its hash can be right and this wrong: another program, or another version of this one, may have written it. */
function jsonOf(tensor: FileTensor | undefined): unknown {
  if (tensor === undefined) throw damaged('it holds no tensor state')
  try {
    return JSON.parse(new TextDecoder().decode(tensor.data))
  } catch (cause) {
    throw damaged('its state is not JSON', cause)
  }
}

function damaged(why: string, cause?: unknown): QuartetError {
  return new QuartetError(
    'checkpoint_invalid',
    `the checkpoint cannot be used: ${why}; remove it and train again without --resume`,
    { cause },
  )
}

function checkIdentity(named: TrainingIdentity, now: TrainingIdentity): void {
  // Checkpoints from before there was a choice name none, and are all of AdamW.
  const saved = now.optimizer === undefined ? named : { optimizer: 'adamw', ...named }
  const changed = [...new Set([...Object.keys(saved), ...Object.keys(now)])].filter(
    (key) => saved[key] !== now[key],
  )
  if (changed.length === 0) return
  const words = changed.map(
    (key) => `${key} was ${saved[key] ?? 'not given'} and is ${now[key] ?? 'not given'}`,
  )
  throw new QuartetError(
    'conflict',
    `the checkpoint is of another training: ${words.join('; ')}; give what it was started with, or start anew with --force`,
  )
}

function sizeOf(specs: ReadonlyMap<string, TensorSpec>, name: string): number {
  const spec = specs.get(name)
  if (spec === undefined) throw damaged(`it holds a tensor ${name} that the adapter does not have`)
  return spec.shape.reduce((product, n) => product * n, 1)
}

function floatsOf(
  tensors: ReadonlyMap<string, FileTensor>,
  { name, length }: { name: string; length: number },
): Float32Array {
  const tensor = tensors.get(name)
  if (tensor?.dtype !== 'F32' || tensor.shape.join() !== `${length}`)
    throw damaged(`it holds no f32 tensor ${name} of ${length} values`)
  return new Float32Array(Uint8Array.from(tensor.data).buffer)
}
