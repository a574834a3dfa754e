import type { ModelConfig } from '../../shared/backbone.ts'
import { copyRowsGraph } from '../graph/copy-rows.ts'
import { encodeModel } from '../graph/encode.ts'
import { memoryOnDevice } from './memory-on-device.ts'
import type { FeedsAndOutputs } from './ort/bound-tensors.ts'
import { allOrNone, type DeviceMemory, type DeviceTensor, type RunTensors } from './ort/device-memory.ts'
import { type Device, InferenceSession } from './session.ts'
import { int64, type Tensor } from './tensors.ts'

/** Types of keys and values on a device. */
export type DeviceCacheType = 'float32' | 'float16' | 'int8'

export interface DeviceRowsOptions {
  readonly device: Device
  readonly type: DeviceCacheType
  /** Where the serving graph has its cache. */
  readonly memory: DeviceMemory
}

const bytesOf: Readonly<Record<DeviceCacheType, number>> = { float32: 4, float16: 2, int8: 1 }

/** Bytes of a row, a key and a value for each head, in all layers. */
export const deviceRowBytes = (
  { headDim, kvHeads, layers }: Pick<ModelConfig, 'headDim' | 'kvHeads' | 'layers'>,
  type: DeviceCacheType,
): number => 2 * layers * kvHeads * headDim * bytesOf[type]

/** Keys and values in turn, layer by layer: each [heads' rows, headDim], as all that a device copies are rows of a head. */
export type RowStore = readonly DeviceTensor[]

/** Heads' rows of one layer to copy, by their places in two stores: row `from[i]` to row `to[i]`. */
export interface RowCopies {
  readonly from: readonly number[]
  readonly to: readonly number[]
}

/** Where a head's row of a slot, the lane, a page or kept rows lies in its store. */
export type RowAt = (head: number, row: number) => number

/** A layer's rows to copy. Layers with the same `key` copy the same. */
export interface LayerCopy {
  readonly key: string
  readonly rows: number
  readonly from: RowAt
  readonly to: RowAt
}

/** Heads' rows that one run copies in a layer: it holds so many in between. */
const mostInRun = 4096

/** The memory of a cache on a device, and copies inside it: nothing of it crosses to the host. */
export class DeviceRows {
  readonly #config: ModelConfig
  readonly #type: DeviceCacheType
  readonly #memory: DeviceMemory
  readonly #copier: InferenceSession
  readonly #stores: RowStore[] = []
  readonly #views: StoreViews[] = []

  private constructor({
    config,
    copier,
    memory,
    type,
  }: { config: ModelConfig; copier: InferenceSession; memory: DeviceMemory; type: DeviceCacheType }) {
    this.#config = config
    this.#type = type
    this.#memory = memory
    this.#copier = copier
  }

  /** Throws `node_unavailable`, or `OrtError` where the device cannot run the graph that copies. */
  static async open(config: ModelConfig, { device, memory, type }: DeviceRowsOptions): Promise<DeviceRows> {
    await using opened = new AsyncDisposableStack()
    const graph = copyRowsGraph({ layers: config.layers, type, width: config.headDim })
    const copier = opened.adopt(
      await InferenceSession.fromModel(encodeModel(graph, { weightsFile: '', opset: 18 }), {
        device,
        memoryPattern: false,
      }),
      (released) => released.release(),
    )
    const stores = copier.inputs.filter((name) => /^(from|to)_/.test(name))
    memoryOnDevice(copier, stores, { device, work: `copies of ${type} rows` })
    opened.move()
    return new DeviceRows({ config, copier, memory, type })
  }

  /** Bytes of this process's memory that copies have read: the places of rows, none of their content. */
  get hostBytes(): number {
    return this.#copier.hostBytes
  }

  /** Bytes of a row, a key and a value for each head, in all layers. */
  get rowBytes(): number {
    return deviceRowBytes(this.#config, this.#type)
  }

  /** Memory for so many rows, each of all heads. Throws `OrtError` when the device has none. */
  allocate(rows: number): RowStore {
    const { headDim, kvHeads, layers } = this.#config
    const store = allOrNone(Array(2 * layers).keys(), () =>
      this.#memory.allocate({ type: this.#type, dims: [rows * kvHeads, headDim] }),
    )
    this.#stores.push(store)
    return store
  }

  /** Uses the memory of a store once. Throws when the device cannot. */
  async tryOut(store: RowStore): Promise<void> {
    if (store.every(({ dims }) => dims[0] === 0)) return
    const first = { from: [0], to: [0] }
    await this.copy({ from: store, to: store }, Array<RowCopies>(this.#config.layers).fill(first))
  }

  /**
   * Copies rows of each layer, some thousand at a time: within one store, a row must not be written in front of another that
   * is still to be read from it.
   */
  async copy({ from, to }: { from: RowStore; to: RowStore }, layers: readonly RowCopies[]): Promise<void> {
    const longest = Math.max(...layers.map((copies) => copies.from.length))
    for (let start = 0; start < longest; start += mostInRun) {
      const indices = new Map<RowCopies, { sources: Tensor; targets: Tensor }>()
      const feeds: Record<string, RunTensors[string]> = {}
      const outputs: Record<string, RunTensors[string]> = {}
      for (const [layer, copies] of layers.entries()) {
        const { sources, targets } = indices.get(copies) ?? places(copies, start)
        indices.set(copies, { sources, targets })
        feeds[`sources.${layer}`] = sources
        feeds[`targets.${layer}`] = targets
        for (const [at, part] of ['key', 'value'].entries()) {
          const [source, target] = [from[2 * layer + at], to[2 * layer + at]]
          if (source === undefined || target === undefined) throw new Error(`no rows of layer ${layer}`)
          feeds[`from_${part}.${layer}`] = source
          feeds[`to_${part}.${layer}`] = target
          outputs[`copied_${part}.${layer}`] = target
        }
      }
      await this.#copier.runInto(feeds, outputs)
    }
  }

  /** Copies rows of all heads, one `LayerCopy` for each layer. */
  async copyLayers(stores: { from: RowStore; to: RowStore }, layers: readonly LayerCopy[]): Promise<void> {
    const made = new Map<string, RowCopies>()
    const copies = layers.map(({ from, key, rows, to }) => {
      const known = made.get(key)
      if (known !== undefined) return known
      const [sources, targets]: [number[], number[]] = [[], []]
      for (let head = 0; head < this.#config.kvHeads; head++)
        for (let row = 0; row < rows; row++) {
          sources.push(from(head, row))
          targets.push(to(head, row))
        }
      const copy = { from: sources, to: targets }
      made.set(key, copy)
      return copy
    })
    await this.copy(stores, copies)
  }

  /** Views of a store, released with it. */
  views(store: RowStore): StoreViews {
    const views = new StoreViews(store)
    this.#views.push(views)
    return views
  }

  async release(): Promise<void> {
    await this.#copier.release()
    for (const views of this.#views) views[Symbol.dispose]()
    for (const tensor of this.#stores.flat()) tensor[Symbol.dispose]()
    this.#memory.release()
  }
}

function places({ from, to }: RowCopies, start: number): { sources: Tensor; targets: Tensor } {
  const targets = to.slice(start, start + mostInRun)
  return {
    sources: int64(from.slice(start, start + mostInRun)),
    targets: int64(targets, [targets.length, 1]),
  }
}

/**
 * The beginning of a store with other sizes, as inputs and outputs of the serving graph: the same tensors for as long as the sizes
 * are the same.
 */
export class StoreViews implements Disposable {
  readonly #store: RowStore
  #dims: readonly number[] = []
  #tensors: readonly DeviceTensor[] = []
  #named: FeedsAndOutputs | undefined

  constructor(store: RowStore) {
    this.#store = store
  }

  /** Good until the next call with other sizes. */
  of(dims: readonly number[]): FeedsAndOutputs {
    if (this.#named !== undefined && dims.every((size, axis) => size === this.#dims[axis])) return this.#named
    this[Symbol.dispose]()
    this.#tensors = allOrNone(this.#store, (tensor) => tensor.as(dims))
    this.#dims = dims
    this.#named = { feeds: this.#as('past'), outputs: this.#as('present') }
    return this.#named
  }

  #as(prefix: string): RunTensors {
    return Object.fromEntries(
      this.#tensors.map((tensor, at) => [`${prefix}_${at % 2 === 0 ? 'key' : 'value'}.${at >> 1}`, tensor]),
    )
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#tensors) tensor[Symbol.dispose]()
    this.#tensors = []
    this.#named = undefined
  }
}
