import { QuartetError } from '../../shared/errors.ts'

/** Work on a cache, one piece at a time. What is to be freed meanwhile is freed afterwards. */
export class Exclusive<T> {
  readonly #free: (freed: T) => void
  readonly #freedMeanwhile: T[] = []
  #working: Promise<unknown> | undefined

  constructor(free: (freed: T) => void) {
    this.#free = free
  }

  get isBusy(): boolean {
    return this.#working !== undefined
  }

  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.isBusy) throw new QuartetError('internal_error', 'the cache is in use')
    const working = work()
    this.#working = working
    try {
      return await working
    } finally {
      this.#working = undefined
      for (const freed of this.#freedMeanwhile.splice(0)) this.#free(freed)
    }
  }

  free(freed: T): void {
    if (this.isBusy) this.#freedMeanwhile.push(freed)
    else this.#free(freed)
  }

  /** Resolves when no work is under way. */
  async settled(): Promise<void> {
    await this.#working?.catch(() => {})
  }
}
