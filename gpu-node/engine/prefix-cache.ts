import { createHash } from 'node:crypto'
import type { Backend, CacheSlot, KeptRows } from '../../model/runtime/backend.ts'
import { lastTokens, runsOnlyWhole } from '../../model/runtime/prompt-cut.ts'
import type { RequestId } from '../../shared/ids.ts'
import type { Sequence } from './sequence.ts'

/** Tokens of a block: whole groups of queries, so that no query behind kept rows is alone that was not alone before. */
const blockTokens = 32

interface Block {
  readonly rows: KeptRows
  /** The request that ran it. */
  readonly by: RequestId
}

/** The tokens of a prompt that the cache gave. */
export interface Restored {
  /** Tokens that need not be run. */
  readonly tokens: number
  /** The number of those that an earlier request had run, not another choice of this request. */
  readonly earlier: number
}

export interface PrefixCacheOptions {
  readonly backend: Pick<Backend, 'backbone' | 'bytesToKeep' | 'keepRows' | 'putRows' | 'variantOf'>
  /** Memory of all kept blocks; 0 keeps none. */
  readonly bytes: number
}

/**
 * Cache rows of prompts that were run, kept in blocks of tokens, so that a prompt that begins alike runs only what
 * follows. A block is found by a hash over all that its rows depend on: the tenant, the backbone, every token up to its
 * end (block hashes as in vLLM's automatic prefix caching), and where it is not wholly in front of the adapter's rows,
 * the adapter, the place of the rows and the tokens that they depend on. What the backbone or one adapter has read in
 * front of late rows, or of a newest turn with rows, is kept for all. The key starts with the tenant and when it was
 * created, so that no tenant's prompts make another's quicker, nor those of a later one of the same name.
 *
 * Kept rows are copies in memory of their own: a running request never waits for one to go, and writes to none. The
 * least recently used go first. Only rows that were run as a prompt are kept, as decode steps take other kernels: the
 * tokens are the same with and without, bit for bit.
 */
export class PrefixCache {
  readonly #backend: PrefixCacheOptions['backend']
  readonly #mostBytes: number
  /** The keys are hashes. The least recently used block stands first. */
  readonly #blocks = new Map<string, Block>()
  /** Blocks that a running prompt is to leave behind, by hash, with the prompt that they are expected of. */
  readonly #expected = new Map<string, Sequence>()
  #bytes = 0

  constructor({ backend, bytes }: PrefixCacheOptions) {
    this.#backend = backend
    this.#mostBytes = bytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /**
   * Whether a prompt should wait for another that is being read: it spares at least half of what is left to read there.
   * So several answers to one conversation that come at once take one prefill, and a short prompt does not wait for a
   * long one that begins alike.
   */
  shouldWait(sequence: Sequence, slot: CacheSlot): boolean {
    if (this.#expected.size === 0) return false
    let reader: Sequence | undefined
    let spared = 0
    for (const hash of this.#hashes(sequence, slot, reusable(sequence))) {
      if (spared === 0 && this.#blocks.has(hash)) continue
      const next = this.#expected.get(hash)
      if (next === undefined || (reader !== undefined && next !== reader)) break
      reader = next
      spared += blockTokens
    }
    return reader !== undefined && 2 * spared >= reader.prefillRowsLeft
  }

  /** Lets others wait for what this prompt is to leave behind; until `forget`. */
  expect(sequence: Sequence, slot: CacheSlot): void {
    if (this.#mostBytes === 0) return
    for (const hash of this.#hashes(sequence, slot, keepable(sequence)))
      if (!this.#expected.has(hash)) this.#expected.set(hash, sequence)
  }

  /** Forgets it: its blocks are kept, or it has ended. */
  forget(sequence: Sequence): void {
    for (const [hash, reader] of this.#expected) if (reader === sequence) this.#expected.delete(hash)
  }

  /** Fills an empty slot with what is kept of a prompt. */
  async restore(sequence: Sequence, slot: CacheSlot): Promise<Restored> {
    const found: { hash: string; block: Block }[] = []
    if (this.#blocks.size > 0)
      for (const hash of this.#hashes(sequence, slot, reusable(sequence))) {
        const block = this.#blocks.get(hash)
        if (block === undefined) break
        found.push({ hash, block })
      }
    // One token in front of the newest turn would run alone.
    if (found.length * blockTokens === sequence.turn - 1) found.pop()
    if (found.length === 0) return { tokens: 0, earlier: 0 }
    await this.#backend.putRows(
      slot,
      found.map(({ block }) => block.rows),
    )
    // The first blocks last, as the others are of no use without them.
    for (const { hash, block } of found.toReversed()) this.#touch(hash, block)
    const { requestId } = sequence.engineRequest.request
    const earlier = found.filter(({ block }) => block.by !== requestId)
    return { tokens: found.length * blockTokens, earlier: earlier.length * blockTokens }
  }

  /**
   * Keeps the blocks of a prompt that lies in the slot, and nothing behind it, as far as the memory goes. Others make
   * room block by block, each before the block is copied.
   */
  async keep(sequence: Sequence, slot: CacheSlot): Promise<void> {
    if (this.#mostBytes === 0) return
    const { length } = sequence.prompt
    const kept = new Map<string, Block>()
    const by = sequence.engineRequest.request.requestId
    let start = 0
    const { tail, turn } = sequence
    for (const hash of this.#hashes(sequence, slot, keepable(sequence))) {
      const range = { start, end: start + blockTokens, tokens: length, tail, turn }
      start += blockTokens
      const known = this.#blocks.get(hash)
      if (known !== undefined) {
        kept.set(hash, known)
        continue
      }
      // First: on a device the memory is no more than that, so that a full one could keep nothing ever again.
      if (!this.#makeRoom(this.#backend.bytesToKeep(slot, range), kept)) break
      const block = { rows: await this.#backend.keepRows(slot, range), by }
      kept.set(hash, block)
      this.#touch(hash, block)
    }
    // The first blocks last, as the others are of no use without them.
    for (const [hash, block] of [...kept].toReversed()) this.#touch(hash, block)
  }

  /** Lets the least recently used blocks go, but for those to spare, until there is room for so many bytes; or says no. */
  #makeRoom(bytes: number, spared: ReadonlyMap<string, Block>): boolean {
    for (const [hash, { rows }] of this.#blocks) {
      if (this.#bytes + bytes <= this.#mostBytes) return true
      if (spared.has(hash)) continue
      this.#blocks.delete(hash)
      this.#bytes -= rows.bytes
      rows.release()
    }
    return this.#bytes + bytes <= this.#mostBytes
  }

  /** Makes a block the most recently used. */
  #touch(hash: string, block: Block): void {
    if (!this.#blocks.delete(hash)) this.#bytes += block.rows.bytes
    this.#blocks.set(hash, block)
  }

  /** The hashes of a prompt's whole blocks within its first `most` tokens, each over all in front of it. */
  *#hashes(
    { adapter, prompt, turn, engineRequest: { request, tenancy, tenant } }: Sequence,
    slot: CacheSlot,
    most: number,
  ): Generator<string> {
    const start = [tenant, tenancy ?? null, this.#backend.backbone, this.#backend.variantOf(slot)]
    let hash = hashOf(JSON.stringify(start), [])
    // In front of an adapter's rows the cache is the backbone's own; with late rows no more than that is kept.
    let inFront = adapter !== undefined && adapter.tail === undefined
    for (let end = blockTokens; end <= most; end += blockTokens) {
      if (inFront && end > turn) {
        inFront = false
        const rows = JSON.stringify({ behind: hash, adapter: request.adapter, turn })
        hash = hashOf(rows, prompt.slice(turn, turn + (adapter?.window ?? 0)))
      }
      hash = hashOf(hash, prompt.slice(end - blockTokens, end))
      yield hash
    }
  }
}

/**
 * How many of a prompt's first tokens another's rows can stand for. The last ones are always run: they give the logits.
 */
function reusable(sequence: Sequence): number {
  return runsOnlyWhole(sequence) ? sequence.turn : sequence.prompt.length - lastTokens(sequence)
}

/** How many of a prompt's first tokens have rows that can stand for another's. */
const keepable = ({ prompt, tail = 0 }: Sequence): number => prompt.length - tail

const hashOf = (before: string, tokens: readonly number[]): string =>
  createHash('sha256').update(before).update(Int32Array.from(tokens)).digest('base64')
