import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import { readWeights } from '../../model/graph/stored-weights.ts'
import { loadAnchors } from '../../model/runtime/anchors.ts'
import { rotaryFeeds } from '../../model/runtime/rotary-feeds.ts'
import { float32, floats, int64, type Tensors } from '../../model/runtime/tensors.ts'
import { type AdapterMetadata, adapterTensorSpecs, type TensorSpec } from '../../shared/adapter-file.ts'
import { otherWeights } from '../../shared/adapter-fit.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Stretch } from '../data/runs.ts'
import { batchInputNames } from '../graph/batch.ts'
import { type BatchLayout, layOut, rowsOfRun } from '../graph/batch-layout.ts'
import type { LateLayout } from '../graph/late-layout.ts'
import type { RowPlaces } from '../graph/placement.ts'
import { gradientOutput, parameterInput } from '../graph/prompts.ts'
import { type TrainingGraphOptions, tokenLossOutput, trainingGraph } from '../graph/training-graph.ts'
import { weightInput } from '../graph/weight-inputs.ts'
import type { LossAndGradients, LossModel, Parameters } from './loss-model.ts'
import { LossSession } from './loss-session.ts'

export interface LossModelOptions {
  readonly backbone: Backbone
  /** The adapter's settings; its parameters come with each call. */
  readonly metadata: AdapterMetadata
  /** Compute each layer's values anew in the backward pass: less memory for about a third more time. */
  readonly checkpointing?: boolean
  /** Threads that share one operator's work; one per core when absent. */
  readonly threads?: number | undefined
  /** Other places of late rows than those that are served, to try a layout; the placement's own when absent. */
  readonly places?: RowPlaces | undefined
  /** Runs the graph when it may; at once when absent. */
  readonly turns?: Turns | undefined
}

/** Decides when work runs. It may end a run through its signal, and begin it anew. */
export interface Turns {
  take<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T>
}

/**
 * Opens a backbone for training, on the same weights that it serves. Throws `backbone_mismatch` for settings of
 * another backbone, `backbone_invalid` for a broken folder.
 */
export async function openLossModel(options: LossModelOptions): Promise<OnnxLossModel> {
  const { folder, manifest } = options.backbone
  check(options)
  return new OnnxLossModel(options, { anchors: await loadAnchors(folder, manifest.config) })
}

function check({ backbone: { manifest }, metadata }: LossModelOptions): void {
  const { config } = manifest
  const fail = (param: string, message: string): never => {
    throw new QuartetError('backbone_mismatch', message, { param })
  }
  if (metadata.backbone_sha256 !== manifest.digest) throw otherWeights(metadata, manifest)
  for (const key of ['d', 'layers'] as const)
    if (metadata[key] !== config[key])
      fail(key, `the adapter says ${key} = ${metadata[key]}; the backbone has ${config[key]}`)
  if (metadata.kind === 'ipt' && metadata.vocab !== config.vocab)
    fail('vocab', `the adapter's table has ${metadata.vocab} rows; the backbone has ${config.vocab} tokens`)
}

/**
 * A frozen backbone and one adapter's prompt rows on ONNX Runtime. Its graphs are made when they are first asked. Calls
 * come one after the other.
 */
export class OnnxLossModel implements LossModel {
  readonly metadata: AdapterMetadata
  readonly specs: ReadonlyMap<string, TensorSpec>
  readonly #options: LossModelOptions
  readonly #anchors: Tensors
  readonly #weights: WeightFeeds
  readonly #opened = new Map<Purpose, Promise<Opened>>()

  constructor(options: LossModelOptions, { anchors }: { anchors: Float32Array }) {
    const { metadata, backbone } = options
    this.metadata = metadata
    this.specs = adapterTensorSpecs(metadata)
    this.#options = options
    this.#anchors = { [batchInputNames.anchors]: float32(anchors, [metadata.layers, metadata.d]) }
    this.#weights = new WeightFeeds(backbone.folder)
  }

  async differentiate(run: readonly Stretch[], parameters: Parameters): Promise<LossAndGradients> {
    const outputs = await this.#run('differentiate', run, parameters)
    const losses = floats(outputs[tokenLossOutput])
    const gradients = new Map(
      Array.from(this.specs.keys(), (name) => [name, floats(outputs[gradientOutput(name)])]),
    )
    return { lossSum: sum(losses), tokens: losses.length, gradients }
  }

  async score(run: readonly Stretch[], parameters: Parameters | undefined): Promise<Float64Array> {
    const purpose = parameters === undefined ? 'score untuned' : 'score'
    const losses = floats((await this.#run(purpose, run, parameters))[tokenLossOutput])
    let from = 0
    return Float64Array.from(run, ({ response, unscored = 0 }) => {
      const to = from + response.length - unscored
      const loss = sum(losses.subarray(from, to))
      from = to
      return loss
    })
  }

  get contextLength(): number {
    return this.#options.backbone.manifest.config.contextLength
  }

  rowsOf(run: readonly Stretch[]): number {
    return rowsOfRun(run, this.metadata, this.#options.places)
  }

  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.#opened.values())
    this.#opened.clear()
    for (const each of opened) if (each.status === 'fulfilled') await each.value.session.release()
  }

  async #run(
    purpose: Purpose,
    run: readonly Stretch[],
    parameters: Parameters | undefined,
  ): Promise<Tensors> {
    const metadata = purpose === 'score untuned' ? undefined : this.metadata
    const { config } = this.#options.backbone.manifest
    const promptRows = metadata?.l_sp ?? 0
    checkRun(run, { ...config, promptRows, metadata })
    const layout = layOut(run, metadata, metadata && this.#options.places)
    const { session, weights } = await this.#open(purpose)
    const feeds = {
      ...weights,
      ...this.#anchors,
      ...(parameters && this.#parameterFeeds(parameters)),
      ...batchFeeds(layout),
      ...rotaryFeeds(
        config,
        run.map(({ instruction, response }) => ({
          rows: promptRows + instruction.length + response.length,
          start: 0,
          end: layout.rows,
        })),
      ),
    }
    const { turns } = this.#options
    return await (turns === undefined
      ? session.run(feeds)
      : turns.take((signal) => session.run(feeds, signal)))
  }

  #parameterFeeds(parameters: Parameters): Tensors {
    return Object.fromEntries(
      Array.from(this.specs, ([name, { shape }]) => {
        const values = parameters.get(name)
        const size = shape.reduce((a, b) => a * b)
        if (values?.length !== size)
          throw new QuartetError(
            'adapter_invalid',
            `tensor ${name} has ${values?.length ?? 'no'} values; expected [${shape}]`,
            { param: name },
          )
        return [parameterInput(name), float32(values, shape)]
      }),
    )
  }

  async #open(purpose: Purpose): Promise<Opened> {
    // The untuned backbone is measured once, before training: the memory of its runs is then free for the others.
    if (purpose !== 'score untuned') await this.#release('score untuned')
    const opened = this.#opened.get(purpose) ?? this.#load(purpose)
    this.#opened.set(purpose, opened)
    return await opened
  }

  async #release(purpose: Purpose): Promise<void> {
    const opened = this.#opened.get(purpose)
    this.#opened.delete(purpose)
    if (opened !== undefined) await (await opened).session.release()
  }

  async #load(purpose: Purpose): Promise<Opened> {
    const { backbone, metadata, places, checkpointing = false, threads } = this.#options
    const reads = places === undefined ? 'front' : 'all'
    const graphs = {
      differentiate: { metadata, reads, gradients: checkpointing ? 'recomputed' : 'kept' },
      score: { metadata, reads, gradients: 'none' },
      'score untuned': { metadata: undefined, gradients: 'none' },
    } as const satisfies Record<Purpose, Omit<TrainingGraphOptions, 'config'>>
    const { graph, weights } = trainingGraph({ config: backbone.manifest.config, ...graphs[purpose] })
    return { session: await LossSession.open(graph, { threads }), weights: await this.#weights.of(weights) }
  }
}

const sum = (values: Float32Array) => values.reduce((total, value) => total + value, 0)

type Purpose = 'differentiate' | 'score' | 'score untuned'

interface Opened {
  readonly session: LossSession
  readonly weights: Tensors
}

/** A folder's weights as graph inputs, each read once for all graphs. */
class WeightFeeds {
  readonly #folder: string
  readonly #tensors = new Map<string, Tensors[string]>()

  constructor(folder: string) {
    this.#folder = folder
  }

  async of(shapes: ReadonlyMap<string, readonly number[]>): Promise<Tensors> {
    const absent = new Map([...shapes].filter(([name]) => !this.#tensors.has(name)))
    const read = await readWeights(this.#folder, absent)
    for (const [name, values] of read) this.#tensors.set(name, float32(values, shapes.get(name) ?? []))
    return Object.fromEntries(Array.from(this.#tensors, ([name, tensor]) => [weightInput(name), tensor]))
  }
}

function batchFeeds(layout: BatchLayout): Tensors {
  const examples = layout.tokens.length / layout.longest
  const perToken = [examples, 1, layout.instruction]
  return {
    [batchInputNames.tokens]: int64(layout.tokens, [examples, layout.longest]),
    [batchInputNames.attendedRows]: int64(layout.attendedRows),
    [batchInputNames.residualRows]: int64(layout.residualRows),
    [batchInputNames.targets]: int64(layout.targets),
    ...(layout.late && lateFeeds(layout.late, { examples, instruction: layout.instruction })),
    [batchInputNames.instructionMask]: float32(layout.mask, perToken),
    [batchInputNames.instructionShare]: float32(layout.share, perToken),
  }
}

function lateFeeds(
  { frontTokens, instructionRows, promptRows, tokenRows }: LateLayout,
  { examples, instruction }: { examples: number; instruction: number },
): Tensors {
  return {
    [batchInputNames.frontTokens]: int64(frontTokens, [examples, frontTokens.length / examples]),
    [batchInputNames.tokenRows]: int64(tokenRows, [tokenRows.length, 1]),
    [batchInputNames.promptRows]: int64(promptRows, [promptRows.length, 1]),
    [batchInputNames.instructionRows]: int64(instructionRows, [examples, instruction]),
  }
}

/** Throws `invalid_request` that names the example. */
function checkRun(
  run: readonly Stretch[],
  {
    vocab,
    contextLength,
    promptRows,
    metadata,
  }: {
    vocab: number
    contextLength: number
    promptRows: number
    metadata: AdapterMetadata | undefined
  },
): void {
  const fail = (message: string): never => {
    throw new QuartetError('invalid_request', message)
  }
  if (run.length === 0) fail('a run needs at least one example')
  const { placement, tail: usualTail = 0 } = metadata ?? {}
  for (const [index, { instruction, response, tail = usualTail, turn = 0 }] of run.entries()) {
    if (instruction.length === 0) fail(`example ${index} of the run has no instruction`)
    if (placement === 'late' && instruction.length <= tail)
      fail(
        `example ${index} of the run has an instruction of ${instruction.length} tokens, and late rows stand in front of its last ${tail}`,
      )
    if (turn > 0 && turn >= instruction.length)
      fail(
        `example ${index} of the run has an instruction of ${instruction.length} tokens, and ${turn} in front of its newest turn`,
      )
    if (placement === 'turn' && instruction.length === 1)
      fail(
        `example ${index} of the run has an instruction of one token, and rows of the placement turn stand behind the first`,
      )
    if (response.length === 0) fail(`example ${index} of the run has no response`)
    const rows = promptRows + instruction.length + response.length
    if (rows > contextLength)
      fail(`example ${index} of the run takes ${rows} rows of a context of ${contextLength}`)
    for (const id of [...instruction, ...response])
      if (!Number.isInteger(id) || id < 0 || id >= vocab)
        fail(`example ${index} of the run holds the token id ${id}; the backbone has ${vocab}`)
  }
}
