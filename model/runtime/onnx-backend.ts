import type { AdapterFile } from '../../shared/adapter-file.ts'
import { checkPromptLength } from '../../shared/adapter-fit.ts'
import type { BackboneManifest, ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { hostNodes } from '../graph/prompt-inputs.ts'
import { AdapterLoader, PromptTensors } from './adapter-tensors.ts'
import { loadAnchors } from './anchors.ts'
import type {
  Backend,
  BackendLimits,
  CacheSlot,
  DecodeRow,
  KeptRows,
  LoadedAdapter,
  PrefillChunk,
  TokenRange,
} from './backend.ts'
import { HostKvCache } from './host-kv-cache.ts'
import { plainRows, prefixRows, type RunRows, tunedRows } from './row-places.ts'
import { type Run, Runner, tableOffset } from './runner.ts'
import type { Device } from './session.ts'
import type { Tensors } from './tensors.ts'

export interface BackendOptions {
  /** A backbone's folder and its manifest. */
  readonly folder: string
  readonly manifest: BackboneManifest
  readonly device: Device
  /** Threads that share one operator's work; one per core when absent. */
  readonly threads?: number | undefined
  /** `contextLength` is lowered to the backbone's own. */
  readonly limits: Omit<BackendLimits, 'vocab'>
}

/** Rows of a slot, at first, where every run copies the cache to a device. */
const firstDeviceCapacity = 128

/** Loads a backbone. Throws `backbone_invalid` or, when the device does not start, `node_unavailable`. */
export async function createBackend({
  folder,
  manifest,
  limits,
  ...session
}: BackendOptions): Promise<OnnxBackend> {
  const { config, digest: backbone, weights } = manifest
  if (weights === 'bf16' && session.device === 'cpu')
    throw new QuartetError(
      'backbone_invalid',
      `${folder} has bf16 weights, which ONNX Runtime multiplies on GPUs alone; run it with --device cuda, or import the model with --weights q8`,
    )
  const { vocab } = config
  const anchors = await loadAnchors(folder, config)
  const contextLength = Math.min(limits.contextLength, config.contextLength)
  return new OnnxBackend({
    backbone,
    config,
    limits: { ...limits, contextLength, vocab },
    runner: await Runner.open(folder, {
      cache: new HostKvCache(config, {
        ...limits,
        contextLength,
        firstCapacity: session.device === 'cpu' ? contextLength : firstDeviceCapacity,
      }),
      config,
      cpuNodes: hostNodes(config),
      ...session,
    }),
    adapters: new AdapterLoader({ backbone, config, anchors, chunkTokens: limits.chunkTokens }),
  })
}

/** The inputs that the graph needs for a sequence in every run. */
interface SequenceRows {
  /** Cache rows that it may have in the end. */
  readonly rows: number
  /** How many of its first rows in a layer stay in view behind a window. */
  readonly prefix: (layer: number) => number
}

/** A backbone on ONNX Runtime. */
export class OnnxBackend implements Backend {
  readonly backbone: Backend['backbone']
  readonly limits: BackendLimits
  readonly #config: ModelConfig
  readonly #runner: Runner
  readonly #adapters: AdapterLoader
  readonly #sequences = new WeakMap<CacheSlot, SequenceRows>()
  readonly #kept = new WeakMap<KeptRows, SequenceRows['prefix']>()

  constructor(
    parts: Pick<Backend, 'backbone' | 'limits'> & {
      config: ModelConfig
      runner: Runner
      adapters: AdapterLoader
    },
  ) {
    this.backbone = parts.backbone
    this.limits = parts.limits
    this.#config = parts.config
    this.#runner = parts.runner
    this.#adapters = parts.adapters
  }

  loadAdapter(file: AdapterFile): LoadedAdapter {
    return this.#adapters.load(file)
  }

  allocate(rows: number): CacheSlot | undefined {
    const slot = this.#runner.cache.allocate(rows)
    if (slot !== undefined) this.#sequences.set(slot, { rows, prefix: () => 0 })
    return slot
  }

  async keepRows(slot: CacheSlot, range: TokenRange): Promise<KeptRows> {
    const kept = await this.#runner.cache.keep(slot, range)
    const sequence = this.#sequences.get(slot)
    if (sequence !== undefined) this.#kept.set(kept, sequence.prefix)
    return kept
  }

  async putRows(slot: CacheSlot, kept: readonly KeptRows[]): Promise<void> {
    await this.#runner.cache.put(slot, kept)
    const [first] = kept
    const prefix = first && this.#kept.get(first)
    const sequence = this.#sequences.get(slot)
    if (prefix !== undefined && sequence !== undefined) this.#sequences.set(slot, { ...sequence, prefix })
  }

  variantOf(slot: CacheSlot): number {
    return tableOffset(this.#config, this.#sequences.get(slot)?.rows ?? 0)
  }

  prefill(chunk: PrefillChunk): Promise<Float32Array> {
    return this.score(chunk, [chunk.tokens.length - 1])
  }

  async score(chunk: PrefillChunk, positions: readonly number[]): Promise<Float32Array> {
    const { slot, tokens } = chunk
    const { layers, tokenPlaces, prompt } = this.#rowsOf(chunk)
    return this.#runner.run({
      ...this.#rowsOfSlots,
      slots: [slot],
      layers,
      tokensOf: () => tokens,
      logitRows: () => positions.map((position) => tokenPlaces[position] ?? position),
      logitCount: positions.length,
      prompt,
    })
  }

  #rowsOf({ slot, tokens, adapter: loaded }: PrefillChunk): RunRows & { prompt: Tensors } {
    if (loaded === undefined)
      return {
        ...plainRows(this.#config.layers, { sequences: 1, each: tokens.length }),
        prompt: this.#adapters.absent,
      }
    const adapter = ownAdapter(loaded)
    const places = adapter.placesIn(tokens.length)
    const { tail, window } = adapter
    if (tail !== undefined) checkLatePlace(slot, { tokens: tokens.length, tail, window })
    this.#sequences.set(slot, {
      rows: this.#sequences.get(slot)?.rows ?? 0,
      prefix: prefixRows(adapter.metadata),
    })
    return {
      ...tunedRows(adapter.metadata, places),
      prompt: this.#adapters.feeds(adapter, { tokens, places }),
    }
  }

  decode(batch: readonly DecodeRow[]): Promise<Float32Array> {
    const tokens = new Map(batch.map(({ slot, token }) => [slot, [token]]))
    return this.#runner.run({
      ...this.#rowsOfSlots,
      slots: batch.map(({ slot }) => slot),
      layers: plainRows(this.#config.layers, { sequences: batch.length, each: 1 }).layers,
      tokensOf: (slot) => tokens.get(slot) ?? [],
      logitRows: (order) => batch.map(({ slot }) => order.indexOf(slot)),
      logitCount: batch.length,
      prompt: this.#adapters.absent,
    })
  }

  readonly #rowsOfSlots: Pick<Run, 'prefixOf' | 'rowsOf'> = {
    prefixOf: (slot, layer) => this.#sequences.get(slot)?.prefix(layer) ?? 0,
    rowsOf: (slot) => this.#sequences.get(slot)?.rows ?? 0,
  }

  close(): Promise<void> {
    return this.#runner.release()
  }
}

/** Throws `invalid_request` where nothing stands in front of late rows, `internal_error` for a cut through the window. */
function checkLatePlace(
  { length }: CacheSlot,
  { tokens, tail, window }: { readonly tokens: number; readonly tail: number; readonly window: number },
): void {
  checkPromptLength({ tokens: length + tokens, tail })
  if (length > 0 && tokens < window + tail)
    throw new QuartetError(
      'internal_error',
      `the chunk with late rows has ${tokens} tokens; they depend on ${window} in front of the last ${tail}`,
    )
}

function ownAdapter(adapter: LoadedAdapter): PromptTensors {
  if (adapter instanceof PromptTensors) return adapter
  throw new QuartetError('internal_error', 'this adapter was loaded by another backend')
}
