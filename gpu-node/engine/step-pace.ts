import type { Sequence } from './sequence.ts'

const memorySeconds = 10

export interface RanStep {
  readonly seconds: number
  /** Rows of prompts that it ran. */
  readonly prefillRows: number
}

export interface WorkLeft {
  /** Rows of prompts, of all sequences together: prompts take turns. */
  readonly prefillRows: number
  /** Tokens of the sequence that may generate most: each step gives every sequence one. */
  readonly tokens: number
}

/** How long steps take: the slowest one lately, and how fast prompts are read. Both are forgotten over ten seconds of steps. */
export class StepPace {
  #slowest = 0
  #rows = 0
  #rowSeconds = 0

  record({ prefillRows, seconds }: RanStep): void {
    const keep = Math.exp(-seconds / memorySeconds)
    this.#slowest = Math.max(seconds, this.#slowest * keep)
    if (prefillRows === 0) return
    this.#rows = this.#rows * keep + prefillRows
    this.#rowSeconds = this.#rowSeconds * keep + seconds
  }

  /** Seconds within which the work is done at this pace; undefined where no such step has run yet. */
  #secondsFor({ prefillRows, tokens }: WorkLeft): number | undefined {
    const isKnown = (tokens === 0 || this.#slowest > 0) && (prefillRows === 0 || this.#rows > 0)
    if (!isKnown) return undefined
    const prefill = prefillRows === 0 ? 0 : prefillRows * (this.#rowSeconds / this.#rows)
    return prefill + tokens * this.#slowest
  }

  /**
   * The latest begin of the request that is next in the queue: the running requests are over then, at this pace, and by
   * its deadline at any pace. Whole seconds; undefined before such steps have run.
   */
  secondsToPlace(running: readonly Sequence[], now: number): number | undefined {
    const atThisPace = this.#secondsFor({
      prefillRows: running.reduce((rows, sequence) => rows + sequence.prefillRowsLeft, 0),
      tokens: Math.max(0, ...running.map(({ tokensLeft }) => tokensLeft)),
    })
    if (atThisPace === undefined) return undefined
    const atAnyPace = Math.max(0, ...running.map(({ deadline }) => (deadline - now) / 1000))
    return Math.max(1, Math.ceil(Math.min(atThisPace, atAnyPace)))
  }
}
