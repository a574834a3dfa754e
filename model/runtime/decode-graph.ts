import { maxPromptRows } from '../../shared/adapter-file.ts'
import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { type PagedType, pagedGraphs, pageRowsOf } from '../graph/paged-cache.ts'
import { Crossing } from './crossing.ts'
import type { KvBinding } from './kv-cache.ts'
import { isCache, memoryOnDevice } from './memory-on-device.ts'
import type { BoundTensors } from './ort/bound-tensors.ts'
import type { DeviceMemory, DeviceTensor } from './ort/device-memory.ts'
import { sparePage } from './paged-kv-cache.ts'
import { firstLine, InferenceSession, type SessionOptions } from './session.ts'
import { float32, int32, int64, type Tensor } from './tensors.ts'

interface DecodeLimits {
  /** Sequences in the largest batch. */
  readonly maxBatch: number
  /** Rows of the longest sequence. */
  readonly contextLength: number
}

export interface DecodeGraphOptions extends Pick<SessionOptions, 'device' | 'initializers' | 'threads'> {
  readonly config: ModelConfig
  readonly limits: DecodeLimits
  /** The type of the cache. */
  readonly type: PagedType
}

const inputs = ['tokens', 'row_starts', 'past_rows', 'block_table'] as const
type Input = (typeof inputs)[number]
type Inputs<T> = Readonly<Record<Input, T>>

/** The tensors on the device that the largest batch has. */
type DecodeMemory = Inputs<DeviceTensor> & { readonly logits: DeviceTensor }

/** A size of batch and of tables, and the tensors on the device that its runs have, always the same. */
interface SizeClass {
  /** The device's provider knows the captured run by it. */
  readonly number: number
  readonly batch: number
  /** Pages of each sequence that the tables list. */
  readonly pages: number
  readonly inputs: Inputs<DeviceTensor>
  readonly logits: DeviceTensor
  /** Those, and bounds on lengths, which are read when the run is captured and are true of every run of the class. */
  readonly bound: BoundTensors
}

/** Sizes are rounded up to a power of two, or to the most there can be. */
const roundedUp = (count: number, most: number): number =>
  Math.min(most, 2 ** Math.ceil(Math.log2(Math.max(1, count))))

/**
 * Decodes over pages with a graph that the GPU captures (`decodeOnly`): the first run of each class of sizes is captured, and
 * later ones repeat it with a single launch. So its tensors stay where they are: what differs from run to run is copied to
 * them before, and the logits are copied from them afterwards. A batch is filled up with sequences of one row, which lies in
 * a page that is nobody's.
 */
export class DecodeGraph {
  readonly #config: ModelConfig
  readonly #limits: DecodeLimits
  readonly #session: InferenceSession
  readonly #enter: Crossing
  readonly #leave: Crossing
  readonly #memory: DecodeMemory
  readonly #classes = new Map<string, SizeClass>()
  /** The cache of the last run. */
  #cache: BoundTensors | undefined

  private constructor({
    config,
    enter,
    leave,
    limits,
    memory,
    session,
  }: Pick<DecodeGraphOptions, 'config' | 'limits'> & {
    enter: Crossing
    leave: Crossing
    memory: DecodeMemory
    session: InferenceSession
  }) {
    this.#config = config
    this.#limits = limits
    this.#session = session
    this.#enter = enter
    this.#leave = leave
    this.#memory = memory
  }

  /** Throws `node_unavailable` or `backbone_invalid`. */
  static async open(
    folder: string,
    { config, limits, type, ...options }: DecodeGraphOptions,
  ): Promise<DecodeGraph> {
    const { device } = options
    await using opened = new AsyncDisposableStack()
    const keep = <T extends { release(): Promise<void> }>(part: T): T =>
      opened.adopt(part, (released) => released.release())
    const session = keep(
      await InferenceSession.open(
        { folder, graph: pagedGraphs[type].decode },
        { ...options, captures: true, memoryPattern: false },
      ),
    )
    try {
      const enter = keep(
        await Crossing.open(device, [
          { name: 'tokens', type: 'int64', axes: 2 },
          { name: 'row_starts', type: 'int32', axes: 2 },
          { name: 'past_rows', type: 'int32', axes: 2 },
          { name: 'block_table', type: 'int32', axes: 2 },
        ]),
      )
      const leave = keep(await Crossing.open(device, [{ name: 'logits', type: 'float32', axes: 2 }]))
      const memory = allocated(
        memoryOnDevice(session, [...inputs, ...session.inputs.filter(isCache)], {
          device,
          work: 'the decoding of this backbone',
        }),
        { config, limits },
      )
      opened.move()
      return new DecodeGraph({ config, enter, leave, limits, memory, session })
    } catch (cause) {
      if (cause instanceof QuartetError && cause.code === 'node_unavailable') throw cause
      const mib = Math.ceil((limits.maxBatch * config.vocab * Float32Array.BYTES_PER_ELEMENT) / 2 ** 20)
      throw new QuartetError(
        'node_unavailable',
        `the device has no room for the logits of ${limits.maxBatch} decoded tokens, which take ${mib} MiB (${firstLine(cause)}): lower --max-batch, or lower --cache-bytes to leave room for them`,
        { cause },
      )
    }
  }

  /** Bytes of this process's memory that its runs have read and written. */
  get hostBytes(): number {
    return this.#session.hostBytes + this.#enter.hostBytes + this.#leave.hostBytes
  }

  /** Decodes a token of each sequence of the binding: the logits of all, [sequences, vocab], into `logits`. */
  async run({
    binding: { lengths, positions, tensors },
    logits,
    tokens,
  }: {
    readonly binding: KvBinding
    readonly logits: Float32Array
    readonly tokens: readonly number[]
  }): Promise<void> {
    const batch = tokens.length
    const rows = Math.max(...lengths.flat()) + 1
    const size = this.#classFor({ batch, pages: Math.ceil(rows / pageRowsOf(this.#config)) })
    const spare = sparePage(tensors)
    const pagesOf = tableRows(positions.block_table, batch)
    const { layers, vocab } = this.#config
    await this.#enter.copy({
      from: {
        tokens: int64(filled(tokens, { to: size.batch, with: 0 }), [size.batch, 1]),
        row_starts: int32(
          Array.from({ length: layers * (size.batch + 1) }, (_, at) => at % (size.batch + 1)),
          [layers, size.batch + 1],
        ),
        past_rows: int32(
          lengths.flatMap((ofLayer) => filled(ofLayer, { to: size.batch, with: 0 })),
          [layers, size.batch],
        ),
        block_table: int32(
          Array.from({ length: size.batch }, (_, row) =>
            filled((pagesOf[row] ?? []).slice(0, size.pages), { to: size.pages, with: spare }),
          ).flat(),
          [size.batch, size.pages],
        ),
      },
      to: size.inputs,
    })
    await this.#session.runInto(
      {},
      {},
      { beside: [this.#boundCache(tensors), size.bound], capture: size.number },
    )
    using results = size.logits.as([batch, vocab])
    await this.#leave.copy({ from: { logits: results }, to: { logits: float32(logits, [batch, vocab]) } })
  }

  /** Frees the device's memory when the last run has ended. */
  async release(): Promise<void> {
    const ofClasses = [...this.#classes.values()].flatMap((size) => [
      size.logits,
      ...Object.values(size.inputs),
    ])
    for (const tensor of [...ofClasses, ...Object.values(this.#memory)]) tensor[Symbol.dispose]()
    for (const part of [this.#leave, this.#enter, this.#session]) await part.release()
  }

  #boundCache(tensors: KvBinding['tensors']): BoundTensors {
    if (this.#cache?.feeds === tensors.feeds) return this.#cache
    this.#cache?.[Symbol.dispose]()
    this.#cache = undefined
    const bound = this.#session.bind(tensors)
    this.#cache = bound
    return bound
  }

  #classFor(wanted: { readonly batch: number; readonly pages: number }): SizeClass {
    const batch = roundedUp(wanted.batch, this.#limits.maxBatch)
    const pages = roundedUp(wanted.pages, mostPages(this.#config, this.#limits))
    const key = `${batch}x${pages}`
    const known = this.#classes.get(key)
    if (known !== undefined) return known
    const { layers, vocab } = this.#config
    const { block_table, logits, past_rows, row_starts, tokens } = this.#memory
    const pageRows = pageRowsOf(this.#config)
    // One sequence fills more pages than the class below has; in a layer without prompt rows, as many rows fewer.
    const below = pages === 1 ? 0 : 2 ** (Math.ceil(Math.log2(pages)) - 1)
    using failing = new DisposableStack()
    const inputs = {
      tokens: failing.use(tokens.as([batch, 1])),
      row_starts: failing.use(row_starts.as([layers, batch + 1])),
      past_rows: failing.use(past_rows.as([layers, batch])),
      block_table: failing.use(block_table.as([batch, pages])),
    }
    const classLogits = failing.use(logits.as([batch, vocab]))
    const row_bounds = int32([1, pages * pageRows, Math.max(1, below * pageRows + 1 - maxPromptRows)])
    const made: SizeClass = {
      number: this.#classes.size + 1,
      batch,
      pages,
      inputs,
      logits: classLogits,
      bound: this.#session.bind({ feeds: { ...inputs, row_bounds }, outputs: { logits: classLogits } }),
    }
    failing.move()
    this.#classes.set(key, made)
    return made
  }
}

/** Memory for the largest class of sizes. */
function allocated(
  memory: DeviceMemory,
  { config, limits }: Pick<DecodeGraphOptions, 'config' | 'limits'>,
): DecodeMemory {
  const { layers, vocab } = config
  const { maxBatch } = limits
  using failing = new DisposableStack()
  const tensor = (type: 'float32' | 'int32' | 'int64', dims: readonly number[]) =>
    failing.use(memory.allocate({ type, dims }))
  const made = {
    tokens: tensor('int64', [maxBatch, 1]),
    row_starts: tensor('int32', [layers, maxBatch + 1]),
    past_rows: tensor('int32', [layers, maxBatch]),
    block_table: tensor('int32', [maxBatch, mostPages(config, limits)]),
    logits: tensor('float32', [maxBatch, vocab]),
  }
  failing.move()
  return made
}

const mostPages = (config: ModelConfig, { contextLength }: DecodeLimits): number =>
  Math.ceil(contextLength / pageRowsOf(config))

function filled(values: readonly number[], { to, with: value }: { to: number; with: number }): number[] {
  return [...values, ...Array<number>(to - values.length).fill(value)]
}

function tableRows(table: Tensor | undefined, batch: number): readonly (readonly number[])[] {
  if (table?.type !== 'int32') throw new Error('a cache in pages has a block table')
  const width = table.data.length / batch
  return Array.from({ length: batch }, (_, row) => [...table.data.subarray(row * width, (row + 1) * width)])
}
