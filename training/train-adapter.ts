import { createHash } from 'node:crypto'
import { type AdapterFile, adapterTensorSpecs, serializeAdapterFile } from '../shared/adapter-file.ts'
import type { AdapterTraining } from './adapter-training.ts'
import { adapterFile } from './as-written.ts'
import { decodeCheckpoint, encodeCheckpoint, type TrainingIdentity } from './checkpoint.ts'
import { openLossModel } from './loss/onnx-loss-model.ts'
import { partsOf } from './parameter-groups.ts'
import { originOf, outcomeOf } from './provenance.ts'
import { freshState, type TrainEvent, type TrainResult, type TrainState, train } from './train.ts'

/** Keeps checkpoints, and what has been kept. */
export interface CheckpointStore {
  /** A checkpoint to go on from. */
  readonly resumed?: Uint8Array | undefined
  save(checkpoint: Uint8Array<ArrayBuffer>): Promise<void>
}

export interface TrainingControl {
  readonly checkpoints?: CheckpointStore | undefined
  readonly onEvent?: ((event: TrainEvent) => void) | undefined
  /** The earlier records of a resumed training. */
  readonly onResume?: ((state: TrainState) => Promise<void>) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface TrainedAdapter extends TrainResult {
  readonly file: AdapterFile
  /** The file's bytes: the same for the same training on one machine. */
  readonly bytes: Uint8Array<ArrayBuffer>
}

/**
 * Trains an adapter for a backbone and puts it in a file. Throws what `train` throws, and `checkpoint_invalid` or
 * `conflict` for a checkpoint that does not belong to this training.
 */
export async function trainAdapter(
  training: AdapterTraining,
  control: TrainingControl = {},
): Promise<TrainedAdapter> {
  const { backbone, data, metadata, settings, start } = training
  const { checkpointing = false, open = openLossModel, threads, turns } = training
  const { checkpoints } = control
  const identity = identityOf(training)
  const origin = originOf(training)
  const specs = adapterTensorSpecs(metadata)
  const resumed = checkpoints?.resumed && decodeCheckpoint(checkpoints.resumed, { identity, specs })
  if (resumed !== undefined) await control.onResume?.(resumed)
  const model = await open({ backbone, metadata, checkpointing, threads, turns })
  try {
    const result = await train({
      model,
      start: resumed ?? freshState(start.parameters),
      data: { train: data.train.examples, dev: data.dev.examples },
      settings,
      threads,
      onEvent: control.onEvent,
      signal: control.signal,
      save:
        checkpoints && ((state) => checkpoints.save(encodeCheckpoint(state, { identity, metadata, origin }))),
    })
    const provenance = { ...origin, ...outcomeOf(result) }
    const file = adapterFile(metadata, { parameters: result.parameters, provenance })
    return { ...result, file, bytes: serializeAdapterFile(file) }
  } finally {
    await model.close()
  }
}

/** These must be the same for a checkpoint to be taken up again. */
function identityOf({ data, metadata, settings, start }: AdapterTraining): TrainingIdentity {
  const { optimizer, rates, ...plain } = settings
  const hasProjections = partsOf(metadata).has('up')
  const named = {
    ...metadata,
    ...plain,
    ...prefixed('rate of ', rates),
    start: start.name,
    ...(hasProjections && { optimizer }),
  }
  return {
    'the training data': data.train.source,
    'the dev data': data.dev.source,
    prompts: data.prompts,
    'what the tokenizer and template make of the data': tokensOf(data),
    ...Object.fromEntries(
      Object.entries(named).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
    ),
  }
}

/** Identifies the examples without regard to order and split, which follow from the seed. */
function tokensOf({ dev, train }: AdapterTraining['data']): string {
  const lines = [...train.examples, ...dev.examples].map(
    ({ instruction, response }) => `${instruction.join()}>${response.join()}\n`,
  )
  const hash = createHash('sha256')
  for (const line of lines.sort()) hash.update(line)
  return hash.digest('hex')
}

function prefixed(prefix: string, values: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, value]))
}
