import type { Backend, BackendLimits } from '../../model/runtime/backend.ts'
import type { TenantId } from '../../shared/ids.ts'
import { Queue, type QueueLimits } from './queue.ts'
import type { Sequence } from './sequence.ts'

/** Service that one generated token stands for, against one prompt token (Sheng et al., section 4.1). */
const generatedTokenWeight = 2

export interface Chunk {
  readonly sequence: Sequence
  readonly tokens: readonly number[]
}

/** What one step runs: chunks first, then one token for each decoding sequence. */
export interface Step {
  readonly chunks: readonly Chunk[]
  readonly decode: readonly Sequence[]
}

export interface SchedulerOptions {
  readonly backend: Pick<Backend, 'allocate' | 'limits'>
  readonly queue: QueueLimits
  /** Prompt tokens that one step prefills; at most the backend's `chunkTokens`. */
  readonly chunkTokens: number
}

/**
 * Decides what each step does; never computes. A step prefills at most `chunkTokens` prompt tokens (or an adapter's
 * window, where that is longer), so a long prompt delays running streams by one chunk at a time, and prompts take
 * turns, so it does not block short ones.
 * Sequences are admitted in the queue's order while there is a batch place and cache for all they may fill; the
 * first that does not fit waits for room and is not overtaken.
 */
export class Scheduler {
  readonly queue: Queue<Sequence>
  readonly #allocate: Backend['allocate']
  readonly #limits: BackendLimits
  readonly #chunkTokens: number
  #prefilling: Sequence[] = []
  #decoding: Sequence[] = []

  constructor({ backend, chunkTokens, queue }: SchedulerOptions) {
    this.queue = new Queue(queue)
    this.#chunkTokens = chunkTokens
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

  get idle(): boolean {
    return this.queue.length === 0 && this.runningCount === 0
  }

  plan(now: number): Step {
    this.#admit(now)
    const decode = [...this.#decoding]
    return { chunks: this.#chunks(), decode }
  }

  /** Its prompt is in the cache: from the next step on it decodes. */
  promote(sequence: Sequence): void {
    this.#prefilling = this.#prefilling.filter((other) => other !== sequence)
    this.#decoding.push(sequence)
  }

  /** Forgets an ended sequence, wherever it stood. */
  retire(sequence: Sequence): void {
    this.queue.remove(sequence)
    this.#prefilling = this.#prefilling.filter((other) => other !== sequence)
    this.#decoding = this.#decoding.filter((other) => other !== sequence)
  }

  /** Counts a token generated for a tenant. */
  chargeToken(tenant: TenantId): void {
    this.queue.charge(tenant, generatedTokenWeight)
  }

  #admit(now: number): void {
    while (this.runningCount < this.#limits.maxBatch) {
      const sequence = this.queue.peek()
      const slot = sequence && this.#allocate(sequence.rows)
      if (sequence === undefined || slot === undefined) return
      this.queue.shift()
      this.queue.charge(sequence.tenant, sequence.prompt.length)
      sequence.admit(slot, now)
      this.#prefilling.push(sequence)
    }
  }

  /**
   * The first prompt in turn gets a whole chunk, and as its first one at least its adapter's window; what is left of
   * the budget goes to prompts that it finishes.
   */
  #chunks(): Chunk[] {
    const [first, ...others] = this.#prefilling
    const chunk = first && nextChunk(first, this.#chunkTokens)
    if (first === undefined || chunk === undefined) return []
    const chunks = [chunk]
    let budget = this.#chunkTokens - chunk.tokens.length
    for (const sequence of others) {
      const rest = nextChunk(sequence, Number.POSITIVE_INFINITY)
      if (rest === undefined || rest.tokens.length > budget) continue
      budget -= rest.tokens.length
      chunks.push(rest)
    }
    this.#prefilling = [...others, first]
    return chunks
  }
}

function nextChunk(sequence: Sequence, most: number): Chunk | undefined {
  if (sequence.phase.name !== 'prefilling') return undefined
  const { done } = sequence.phase
  const window = done === 0 ? (sequence.adapter?.window ?? 0) : 0
  return { sequence, tokens: sequence.prompt.slice(done, done + Math.max(most, window)) }
}
