import type {
  Backend,
  BackendLimits,
  CacheSlot,
  DecodeRow,
  KeptRows,
  LoadedAdapter,
  PrefillChunk,
  StepPart,
  TokenRange,
} from '../../model/runtime/backend.ts'
import type { CacheLayout } from '../../model/runtime/cache-layout.ts'
import { stepCallsOf } from '../../model/runtime/step-calls.ts'
import type { AdapterFile } from '../../shared/adapter-file.ts'
import { QuartetError } from '../../shared/errors.ts'
import { BackboneDigest } from '../../shared/ids.ts'
import { FakeAdapter, fakeAdapter } from './fake-adapter.ts'
import { FakeRows, FakeSlot, rowsIn } from './fake-cache.ts'
import { hashedLogits, hashedVocab, mix } from './hashed-model.ts'

export type BackendCall =
  | { readonly type: 'prefill'; readonly tokens: number; readonly tuned: boolean; readonly scored?: number }
  | { readonly type: 'decode'; readonly batch: number }
  | {
      readonly type: 'together'
      readonly chunks: readonly { readonly tokens: number; readonly tuned: boolean }[]
      readonly batch: number
    }

export const fakeBackbone = BackboneDigest.parse('f'.repeat(64))

const defaultLimits: BackendLimits = {
  vocab: hashedVocab,
  contextLength: 4096,
  chunkTokens: 32,
  maxBatch: 4,
  cacheRows: 8192,
}

/**
 * A backend that computes nothing and keeps the contract strictly, for tests of everything around it. Its likeliest
 * next token is a hash of the adapter and of all tokens in the slot (`continuation`), so a token that is lost, doubled
 * or in the wrong slot changes all that follow. The model of the engine's tests.
 */
export class FakeBackend implements Backend {
  readonly backbone = fakeBackbone
  readonly limits: BackendLimits
  readonly calls: BackendCall[] = []
  /** Run before every call; throw here to fail it, wait here to hold it. */
  beforeCall: (call: BackendCall) => Promise<void> | void = () => {}
  /** Changes the logits [vocab] of every row. */
  alterLogits: (logits: Float32Array) => void = () => {}
  usedRows = 0
  /** Of kept rows that were not released, now and at most. */
  keptBytes = 0
  mostKeptBytes = 0
  closed = false
  readonly #layout: CacheLayout
  #computing = false

  /** `layout`: the one of the cache, which says what runs together; `host` by default. */
  constructor({ layout = 'host', ...limits }: Partial<BackendLimits> & { layout?: CacheLayout } = {}) {
    this.limits = { ...defaultLimits, ...limits }
    this.#layout = layout
  }

  loadAdapter(file: AdapterFile): LoadedAdapter {
    if (file.metadata.backbone_sha256 !== this.backbone)
      throw new QuartetError('backbone_mismatch', 'the adapter was made for another backbone', {
        param: 'backbone_sha256',
      })
    const data = [...file.tensors.values()].map((tensor) => tensor.data)
    return fakeAdapter({
      rows: file.metadata.l_sp,
      bytes: data.reduce((sum, { length }) => sum + length, 0),
      placement: file.metadata.placement,
      tail: file.metadata.tail,
      identity: data.flatMap((bytes) => [...bytes]).reduce(mix, 17),
    })
  }

  stack(parts: readonly LoadedAdapter[]): LoadedAdapter {
    const own = parts.map((part) => {
      if (part instanceof FakeAdapter && part.tail !== undefined) return part
      throw new QuartetError('invalid_request', 'only late adapters are stacked', { param: 'behind' })
    })
    return fakeAdapter({
      rows: own.reduce((sum, { rows }) => sum + rows, 0),
      window: Math.max(...own.map(({ window }) => window)),
      tail: own[0]?.tail,
      identity: own.map(({ identity }) => identity).reduce(mix, 23),
    })
  }

  allocate(rows: number): CacheSlot | undefined {
    if (this.usedRows + rows > this.limits.cacheRows) return undefined
    this.usedRows += rows
    return new FakeSlot(rows, (freed) => {
      this.usedRows -= freed
    })
  }

  get takenRows(): number {
    return this.usedRows
  }

  bytesToKeep(given: CacheSlot, range: TokenRange): number {
    return range.end - range.start + (rowsIn(this.#own(given), range)?.rows ?? 0)
  }

  async keepRows(given: CacheSlot, range: TokenRange): Promise<KeptRows> {
    const slot = this.#own(given)
    const { end, start, tail, tokens, turn = 0 } = range
    if (slot.tokens.length !== tokens || start >= end || end > tokens) throw new Error('not that many tokens')
    if (tail !== slot.tail || turn !== slot.turn || end > tokens - (tail ?? 0))
      throw new Error('not where the rows stand')
    const kept = new FakeRows({
      tokens: slot.tokens.slice(start, end),
      adapter: rowsIn(slot, range),
      turn,
      free: (bytes) => {
        this.keptBytes -= bytes
      },
    })
    this.keptBytes += kept.bytes
    this.mostKeptBytes = Math.max(this.mostKeptBytes, this.keptBytes)
    return kept
  }

  variantOf(): number {
    return 0
  }

  async putRows(given: CacheSlot, kept: readonly KeptRows[]): Promise<void> {
    const slot = this.#own(given)
    if (this.#computing || slot.length > 0) throw new Error('not an empty slot between runs')
    for (const rows of kept) {
      if (!(rows instanceof FakeRows) || rows.released) throw new Error('not rows of this backend')
      // Rows of one place, however they came there.
      if (rows.adapter !== undefined && slot.adapter === undefined) {
        slot.adapter = rows.adapter
        slot.turn = rows.turn
      }
      slot.tokens.push(...rows.tokens)
    }
    if (slot.length > slot.rows) throw new Error('the slot is full')
  }

  callsOf<P extends StepPart>(parts: readonly P[]): readonly (readonly P[])[] {
    return stepCallsOf({ layout: this.#layout, type: 'f16' })(parts)
  }

  run(parts: readonly StepPart[]): Promise<Float32Array> {
    const [first, ...others] = parts
    if (first?.kind === 'chunk' && others.length === 0) return this.prefill(first)
    const decoded = parts.filter((part) => part.kind === 'decode')
    if (decoded.length === parts.length) return this.decode(decoded)
    const chunks = parts.filter((part) => part.kind === 'chunk')
    const tuned = chunks.map(({ adapter }) => adapter !== undefined)
    if (this.#layout !== 'pages' || tuned.includes(true, 1)) throw new Error('not one call')
    const call = {
      type: 'together',
      chunks: chunks.map(({ tokens }, at) => ({ tokens: tokens.length, tuned: tuned[at] === true })),
      batch: decoded.length,
    } as const
    return this.#call(call, () => {
      const { vocab } = this.limits
      const logits = new Float32Array(parts.length * vocab)
      for (const [row, part] of parts.entries()) {
        const tokens = part.kind === 'chunk' ? part.tokens : [part.token]
        const slot = part.kind === 'chunk' ? this.#begun(part) : this.#own(part.slot)
        logits.set(this.#extend(slot, tokens), row * vocab)
      }
      return logits
    })
  }

  prefill(chunk: PrefillChunk): Promise<Float32Array> {
    const { adapter, tokens } = chunk
    const call = { type: 'prefill', tokens: tokens.length, tuned: adapter !== undefined } as const
    return this.#call(call, () => this.#extend(this.#begun(chunk), tokens))
  }

  score(chunk: PrefillChunk, positions: readonly number[]): Promise<Float32Array> {
    const { adapter, tokens } = chunk
    const scored = positions.length
    const call = { type: 'prefill', tokens: tokens.length, tuned: adapter !== undefined, scored } as const
    return this.#call(call, () => {
      const slot = this.#begun(chunk)
      const { vocab } = this.limits
      const logits = new Float32Array(positions.length * vocab)
      for (const [position, token] of tokens.entries()) {
        const row = this.#extend(slot, [token])
        const at = positions.indexOf(position)
        if (at !== -1) logits.set(row, at * vocab)
      }
      return logits
    })
  }

  /** The last hidden state of each token is its logits, so that `d` is `vocab`. */
  hidden(chunk: PrefillChunk): Promise<Float32Array> {
    return this.score(chunk, [...chunk.tokens.keys()])
  }

  #begun({ adapter, slot: given, tail: asked, tokens }: PrefillChunk): FakeSlot {
    const slot = this.#own(given)
    if (tokens.length > this.limits.chunkTokens + (asked ?? adapter?.tail ?? 0))
      throw new Error('the chunk is too long')
    if (adapter !== undefined) {
      if (!(adapter instanceof FakeAdapter)) throw new Error('not an adapter of this backend')
      const { window } = adapter
      const tail = adapter.tail === undefined ? undefined : (asked ?? adapter.tail)
      const isFirst = tail === undefined && adapter.placement !== 'turn'
      if (slot.adapter !== undefined || (isFirst && slot.length > 0))
        throw new Error('prompt rows come once, with the first chunk unless they are of a turn or late')
      if (adapter.placement === 'turn') slot.turn = slot.length
      if (tail !== undefined && slot.length > 0 && tokens.length - tail < window)
        throw new Error('the chunk does not hold the window of late rows')
      slot.adapter = adapter
      slot.tail = tail
    }
    return slot
  }

  decode(batch: readonly DecodeRow[]): Promise<Float32Array> {
    return this.#call({ type: 'decode', batch: batch.length }, () => {
      if (batch.length > this.limits.maxBatch) throw new Error('the batch is too large')
      const { vocab } = this.limits
      const logits = new Float32Array(batch.length * vocab)
      for (const [row, { slot, token }] of batch.entries())
        logits.set(this.#extend(this.#own(slot), [token]), row * vocab)
      return logits
    })
  }

  async close(): Promise<void> {
    this.closed = true
  }

  async #call(call: BackendCall, compute: () => Float32Array): Promise<Float32Array> {
    if (this.#computing) throw new Error('one call at a time')
    this.#computing = true
    try {
      await this.beforeCall(call)
      this.calls.push(call)
      return compute()
    } finally {
      this.#computing = false
    }
  }

  #own(slot: CacheSlot): FakeSlot {
    if (!(slot instanceof FakeSlot) || slot.released) throw new Error('not a slot in use')
    return slot
  }

  #extend(slot: FakeSlot, tokens: readonly number[]): Float32Array {
    slot.tokens.push(...tokens)
    if (slot.length > slot.rows) throw new Error('the slot is full')
    const logits = hashedLogits(slot.tokens, {
      vocab: this.limits.vocab,
      identity: slot.adapter?.identity ?? 0,
    })
    this.alterLogits(logits)
    return logits
  }
}
