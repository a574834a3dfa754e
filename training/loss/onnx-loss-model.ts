import { readWeights } from '../../model/graph/stored-weights.ts'
import type { Backbone } from '../../model/import/backbone-folder.ts'
import { loadAnchors } from '../../model/runtime/anchors.ts'
import { float32, floats, int64, type Tensors } from '../../model/runtime/tensors.ts'
import { type AdapterMetadata, adapterTensorSpecs, type TensorSpec } from '../../shared/adapter-file.ts'
import { QuartetError } from '../../shared/errors.ts'
import { batchInputNames } from '../graph/batch.ts'
import { inParts, layOut, type Stretch } from '../graph/batch-layout.ts'
import { gradientOutput, parameterInput } from '../graph/prompts.ts'
import { type TrainingGraphOptions, tokenLossOutput, trainingGraph } from '../graph/training-graph.ts'
import { weightInput } from '../graph/weight-inputs.ts'
import type { Example, LossAndGradients, LossModel, Parameters } from './loss-model.ts'
import { LossSession } from './loss-session.ts'

export interface LossModelOptions {
  readonly backbone: Backbone
  /** The adapter's settings; its parameters come with each call. */
  readonly metadata: AdapterMetadata
  /** Compute each layer's values anew in the backward pass: less memory for about a third more time. */
  readonly checkpointing?: boolean
  /**
   * Rows of padded sequences, prompt rows included, that run at once, and of logits; a larger batch runs in parts whose
   * gradients add up. Memory beyond the weights grows with it: about 1.4 MiB a row, 0.4 with checkpointing, for a 135M backbone.
   */
  readonly maxRows?: number
  /** Threads that share one operator's work; one per core when absent. */
  readonly threads?: number | undefined
}

/**
 * Opens a backbone for training, on the very weights that it serves. Throws `backbone_mismatch` for settings of
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
  if (metadata.backbone_sha256 !== manifest.digest)
    fail(
      'backbone_sha256',
      `the adapter is for the backbone ${metadata.backbone_sha256} (${metadata.backbone}); this one is ${manifest.digest}`,
    )
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

  async differentiate(batch: readonly Example[], parameters: Parameters): Promise<LossAndGradients> {
    let lossSum = 0
    let tokens = 0
    const gradients = new Map<string, Float32Array>()
    for await (const { outputs } of this.#runParts('differentiate', batch, parameters)) {
      const losses = floats(outputs[tokenLossOutput])
      tokens += losses.length
      lossSum += sum(losses)
      for (const name of this.specs.keys()) {
        const gradient = floats(outputs[gradientOutput(name)])
        const before = gradients.get(name)
        if (before === undefined) gradients.set(name, gradient)
        else for (const [i, value] of gradient.entries()) before[i] = (before[i] ?? 0) + value
      }
    }
    return { lossSum, tokens, gradients }
  }

  async score(batch: readonly Example[], parameters: Parameters | undefined): Promise<Float64Array> {
    const purpose = parameters === undefined ? 'score untuned' : 'score'
    const scores = new Float64Array(batch.length)
    for await (const { part, outputs } of this.#runParts(purpose, batch, parameters)) {
      const losses = floats(outputs[tokenLossOutput])
      let from = 0
      for (const { index, response, unscored } of part) {
        const to = from + response.length - unscored
        scores[index] = (scores[index] ?? 0) + sum(losses.subarray(from, to))
        from = to
      }
    }
    return scores
  }

  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.#opened.values())
    this.#opened.clear()
    for (const each of opened) if (each.status === 'fulfilled') await each.value.session.release()
  }

  async *#runParts(
    purpose: Purpose,
    batch: readonly Example[],
    parameters: Parameters | undefined,
  ): AsyncGenerator<{ part: readonly Stretch[]; outputs: Tensors }> {
    const metadata = purpose === 'score untuned' ? undefined : this.metadata
    const { backbone, maxRows = defaultMaxRows } = this.#options
    const promptRows = metadata?.l_sp ?? 0
    checkBatch(batch, { ...backbone.manifest.config, promptRows })
    const { session, weights } = await this.#open(purpose)
    const fixed = { ...weights, ...this.#anchors, ...(parameters && this.#parameterFeeds(parameters)) }
    for (const part of inParts(batch, { promptRows, maxRows }))
      yield { part, outputs: await session.run({ ...fixed, ...batchFeeds(part, metadata) }) }
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
    const { backbone, metadata, checkpointing = false, threads } = this.#options
    const graphs = {
      differentiate: { metadata, gradients: checkpointing ? 'recomputed' : 'kept' },
      score: { metadata, gradients: 'none' },
      'score untuned': { metadata: undefined, gradients: 'none' },
    } as const satisfies Record<Purpose, Omit<TrainingGraphOptions, 'config'>>
    const { graph, weights } = trainingGraph({ config: backbone.manifest.config, ...graphs[purpose] })
    return { session: await LossSession.open(graph, { threads }), weights: await this.#weights.of(weights) }
  }
}

/** A batch of 16 × 76 tokens with four prompt rows each. */
const defaultMaxRows = 1280

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
    const absent = [...shapes.keys()].filter((name) => !this.#tensors.has(name))
    const read = await readWeights(this.#folder, absent)
    for (const [name, values] of read) this.#tensors.set(name, float32(values, shapes.get(name) ?? []))
    return Object.fromEntries(Array.from(this.#tensors, ([name, tensor]) => [weightInput(name), tensor]))
  }
}

function batchFeeds(batch: readonly Stretch[], metadata: AdapterMetadata | undefined): Tensors {
  const layout = layOut(batch, metadata)
  const perToken = [batch.length, 1, layout.instruction]
  return {
    [batchInputNames.tokens]: int64(layout.tokens, [batch.length, layout.longest]),
    [batchInputNames.attendedRows]: int64(layout.attendedRows),
    [batchInputNames.residualRows]: int64(layout.residualRows),
    [batchInputNames.targets]: int64(layout.targets),
    [batchInputNames.instructionMask]: float32(layout.mask, perToken),
    [batchInputNames.instructionShare]: float32(layout.share, perToken),
  }
}

/** Throws `invalid_request` that names the example. */
function checkBatch(
  batch: readonly Example[],
  { vocab, contextLength, promptRows }: { vocab: number; contextLength: number; promptRows: number },
): void {
  const fail = (message: string): never => {
    throw new QuartetError('invalid_request', message)
  }
  if (batch.length === 0) fail('a batch needs at least one example')
  for (const [index, { instruction, response }] of batch.entries()) {
    if (instruction.length === 0) fail(`example ${index} of the batch has no instruction`)
    if (response.length === 0) fail(`example ${index} of the batch has no response`)
    const rows = promptRows + instruction.length + response.length
    if (rows > contextLength)
      fail(`example ${index} of the batch takes ${rows} rows of a context of ${contextLength}`)
    for (const id of [...instruction, ...response])
      if (!Number.isInteger(id) || id < 0 || id >= vocab)
        fail(`example ${index} of the batch holds the token id ${id}; the backbone has ${vocab}`)
  }
}
