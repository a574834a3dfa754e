import type { Backend, BackendLimits, CacheSlot } from '../../model/runtime/backend.ts'
import type { TenantId } from '../../shared/ids.ts'
import { type Chunk, cutChunk, remainder } from './chunk.ts'
import type { PrefixCache, Restored } from './prefix-cache.ts'
import { Queue, type QueueLimits } from './queue.ts'
import type { Sequence } from './sequence.ts'
import type { StepBudget } from './step-budget.ts'

/** Service that one generated token stands for, against one row of a prompt (Sheng et al., section 4.1). */
const generatedTokenWeight = 2

/** A text that a grammar has forced, as one run. */
export interface Jump {
  readonly sequence: Sequence
  readonly slot: CacheSlot
  readonly tokens: readonly number[]
}

/** A sequence into whose slot the rows that are kept of its prompt could not be put. */
interface Unrestored {
  readonly sequence: Sequence
  readonly cause: unknown
}

/** The work of one step: chunks first, then forced texts, then one token for each other decoding sequence. */
export interface Step {
  readonly chunks: readonly Chunk[]
  readonly jumps: readonly Jump[]
  readonly decode: readonly Sequence[]
  /** They are to be ended. */
  readonly unrestored: readonly Unrestored[]
}

export interface SchedulerOptions {
  readonly backend: Pick<Backend, 'allocate' | 'limits'>
  readonly queue: QueueLimits
  readonly budget: Pick<StepBudget, 'mostRows' | 'msOf' | 'prefillMs' | 'rowsIn'>
  readonly prefixes: Pick<PrefixCache, 'restore' | 'shouldWait' | 'expect' | 'forget'>
}

/**
 * Decides what each step does; never computes. A step prefills as many rows of prompts as its time has room for (an
 * adapter's window, rows and tail at least, which cannot be parted), so a long prompt delays running streams by one bounded
 * step at a time, and prompts take turns, so it does not block short ones.
 * Sequences are admitted in the queue's order while there is a batch place and cache for all they may fill; the
 * first that does not fit waits for room and is not overtaken. Those of low priority take at most three quarters of
 * the places. A prompt most of which another is just reading waits until that is read, and runs what is left.
 */
export class Scheduler {
  readonly queue: Queue<Sequence>
  readonly #allocate: Backend['allocate']
  readonly #limits: BackendLimits
  readonly #budget: SchedulerOptions['budget']
  readonly #prefixes: SchedulerOptions['prefixes']
  #prefilling: Sequence[] = []
  /**
   * The sequences of `#prefilling` that wait until another has read the tokens they begin with, in the order of their
   * admission.
   */
  #following: { readonly sequence: Sequence; readonly slot: CacheSlot }[] = []
  #decoding: Sequence[] = []

  constructor({ backend, budget, prefixes, queue }: SchedulerOptions) {
    this.queue = new Queue(queue)
    this.#budget = budget
    this.#prefixes = prefixes
    this.#allocate = (rows) => backend.allocate(rows)
    this.#limits = backend.limits
  }

  /** Sequences that hold a batch place. */
  get running(): readonly Sequence[] {
    return [...this.#prefilling, ...this.#decoding]
  }

  get runningCount(): number {
    return this.#prefilling.length + this.#decoding.length
  }

  /** The last quarter of the places is kept free for whoever comes next. */
  get #placesOfLowPriority(): number {
    return Math.ceil((this.#limits.maxBatch * 3) / 4)
  }

  get idle(): boolean {
    return this.queue.length === 0 && this.runningCount === 0
  }

  /** The next step. Admits from the queue first. */
  async schedule(now: number): Promise<Step> {
    await this.#admit(now)
    const unrestored = await this.#release()
    const decode = this.#decoding.filter(({ phase }) => phase.name === 'decoding' && phase.next.length === 1)
    const ms = this.#budget.prefillMs(decode.length)
    const jumps = this.#jumps(ms)
    const jumpMs = jumps.reduce((sum, jump) => sum + this.#jumpMs(jump), 0)
    return { chunks: this.#chunks(ms - jumpMs), jumps, decode, unrestored }
  }

  /** Sequences that wait for their grammar. */
  get held(): readonly Sequence[] {
    return this.#decoding.filter(({ phase }) => phase.name === 'held')
  }

  /** Its prompt is in the cache: from the next step on it decodes. */
  promote(sequence: Sequence): void {
    this.#prefixes.forget(sequence)
    this.#prefilling = this.#prefilling.filter((other) => other !== sequence)
    this.#decoding.push(sequence)
  }

  /** Forgets an ended sequence, wherever it stood. */
  retire(sequence: Sequence): void {
    this.queue.remove(sequence)
    this.#prefixes.forget(sequence)
    this.#following = this.#following.filter((other) => other.sequence !== sequence)
    this.#prefilling = this.#prefilling.filter((other) => other !== sequence)
    this.#decoding = this.#decoding.filter((other) => other !== sequence)
  }

  /** Counts a token generated for a tenant. */
  chargeToken(tenant: TenantId): void {
    this.queue.charge(tenant, generatedTokenWeight)
  }

  async #admit(now: number): Promise<void> {
    while (this.runningCount < this.#limits.maxBatch) {
      const sequence = this.queue.peek()
      if (sequence?.isLowPriority === true && this.runningCount >= this.#placesOfLowPriority) return
      const slot = sequence && this.#allocate(sequence.rows)
      if (sequence === undefined || slot === undefined) return
      this.queue.shift()
      // Among the running ones before anything can fail, so that it ends with them.
      sequence.admit(slot, now)
      this.#prefilling.push(sequence)
      // The cache keeps no logits and no hidden states, so a prompt of which they are wanted runs from its first token.
      if (sequence.promptReading !== undefined)
        this.#begin(sequence, { slot, restored: { tokens: 0, earlier: 0 } })
      else this.#following.push({ sequence, slot })
    }
  }

  /** Begins the prompts that need not wait for another's. Gives those that cannot begin, which are forgotten. */
  async #release(): Promise<readonly Unrestored[]> {
    const waiting = this.#following
    const unrestored: Unrestored[] = []
    this.#following = []
    for (const { sequence, slot } of waiting) {
      if (sequence.phase.name !== 'prefilling') continue
      if (this.#prefixes.shouldWait(sequence, slot)) {
        this.#following.push({ sequence, slot })
        continue
      }
      this.#prefixes.expect(sequence, slot)
      try {
        this.#begin(sequence, { slot, restored: await this.#prefixes.restore(sequence, slot) })
      } catch (cause) {
        this.#prefilling = this.#prefilling.filter((other) => other !== sequence)
        unrestored.push({ sequence, cause })
      }
    }
    return unrestored
  }

  #begin(sequence: Sequence, { restored, slot }: { restored: Restored; slot: CacheSlot }): void {
    sequence.reuse(slot, restored)
    const [start, end] = [restored.tokens, sequence.prompt.length]
    const promptRows = sequence.makesRows({ start, end }) ? sequence.promptRows : 0
    this.queue.charge(sequence.tenant, end - start + promptRows)
  }

  /** As many forced texts as the time has room for, and one in any case. The others wait for the next step. */
  #jumps(ms: number): Jump[] {
    const jumps: Jump[] = []
    let left = ms
    for (const sequence of this.#decoding) {
      if (sequence.phase.name !== 'decoding' || sequence.phase.next.length === 1) continue
      if (jumps.length > 0 && left <= 0) break
      const jump = { sequence, slot: sequence.phase.slot, tokens: sequence.phase.next }
      left -= this.#jumpMs(jump)
      jumps.push(jump)
    }
    return jumps
  }

  #jumpMs({ slot, tokens }: Jump): number {
    return this.#budget.msOf({ rows: tokens.length, depth: slot.length })
  }

  /** The first prompt in turn gets the tokens that the time has room for. The rest goes to prompts that it has room for. */
  #chunks(stepMs: number): Chunk[] {
    const following = new Set(this.#following.map(({ sequence }) => sequence))
    const [first, ...others] = this.#prefilling.filter((sequence) => !following.has(sequence))
    let ms = stepMs
    const chunk = first && this.#nextChunk(first, ms)
    if (first === undefined || chunk === undefined) return []
    const chunks = [chunk]
    let rows = this.#budget.mostRows - chunk.rows
    ms -= this.#budget.msOf(chunk)
    for (const sequence of others) {
      const rest = remainder(sequence)
      if (rest === undefined || ms <= 0 || rest.tokens.length > this.#mostTokens(sequence)) continue
      if (rest.rows > Math.min(rows, this.#budget.rowsIn(ms, rest.depth))) continue
      const next = cutChunk(rest, { rows: rest.rows, tokens: rest.tokens.length })
      rows -= next.rows
      ms -= this.#budget.msOf(next)
      chunks.push(next)
    }
    this.#prefilling = [...others, first, ...following]
    return chunks
  }

  /** Tokens of its prompt in one run, as far as the memory for their results goes. */
  #mostTokens({ promptReading }: Sequence): number {
    return promptReading?.mostTokens(this.#limits.vocab) ?? Number.POSITIVE_INFINITY
  }

  #nextChunk(sequence: Sequence, ms: number): Chunk | undefined {
    const rest = remainder(sequence)
    return (
      rest &&
      cutChunk(rest, { rows: this.#budget.rowsIn(ms, rest.depth), tokens: this.#mostTokens(sequence) })
    )
  }
}
