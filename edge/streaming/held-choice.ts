import type { ChoiceDelta } from './read-choice.ts'

/** One attempt at a choice, from its first token on. */
interface Reading {
  readonly deltas: AsyncGenerator<ChoiceDelta, void>
}

export interface HeldSource<R extends Reading> {
  readonly begin: () => Promise<R>
  /** Begins another one in place of `failed`, whose deltas threw `thrown`. Rejects with what the client is told when there is none. */
  readonly again: (failed: R, thrown: unknown) => Promise<R>
  /** The error that the client is told of a choice that broke. */
  readonly forClient: (thrown: unknown) => unknown
}

/**
 * A choice of which the client has seen nothing yet: it is read ahead, and begins anew when it fails. From `release` on
 * it is what it is, and its failure is the client's.
 */
export class HeldChoice<R extends Reading> {
  readonly #source: HeldSource<R>
  #reading: R | undefined
  #ready = readiness()
  #isReady = false
  #ahead: ChoiceDelta[] = []
  #pending: Promise<IteratorResult<ChoiceDelta, void>> | undefined
  #isReleased = false
  #failure: unknown
  /** It is complete, or was released; rejects when it failed for good. */
  readonly settled: Promise<void>

  constructor(source: HeldSource<R>) {
    this.#source = source
    this.settled = this.#hold().catch((thrown: unknown) => {
      this.#failure = thrown
      this.#ready.reject(thrown)
      throw thrown
    })
    this.settled.catch(() => undefined)
  }

  /** The attempt that gives the deltas; for a choice that failed, its last attempt. */
  get reading(): R | undefined {
    return this.#reading
  }

  /** It failed with this for good, before it was released; undefined where it did not. */
  get failure(): unknown {
    return this.#failure
  }

  /** Another attempt is being sought in place of the one that is read. */
  get isReplacing(): boolean {
    return this.#reading !== undefined && !this.#isReady && this.#failure === undefined
  }

  /** Resolves with a first token, which a failure may take back. */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  get isReady(): boolean {
    return this.#isReady
  }

  release(): void {
    this.#isReleased = true
  }

  /** All deltas from the first on. To be called after `release`, or when the choice is complete. */
  async *deltas(): AsyncGenerator<ChoiceDelta, void> {
    yield* this.#ahead.splice(0)
    const deltas = this.#reading?.deltas
    try {
      let next = await this.#pending
      if (next?.done === false) yield next.value
      while (deltas !== undefined && next?.done !== true) {
        next = await deltas.next()
        if (next.done === false) yield next.value
      }
    } catch (thrown) {
      throw this.#source.forClient(thrown)
    } finally {
      await deltas?.return()
    }
  }

  async #hold(): Promise<void> {
    let reading = this.#begun(await this.#source.begin())
    while (!this.#isReleased) {
      try {
        this.#pending = reading.deltas.next()
        const next = await this.#pending
        if (this.#isReleased) return
        this.#pending = undefined
        if (next.done === true) return
        this.#ahead.push(next.value)
      } catch (thrown) {
        if (this.#isReleased) return
        this.#ahead = []
        this.#pending = undefined
        this.#isReady = false
        this.#ready = readiness()
        reading = this.#begun(await this.#source.again(reading, thrown))
      }
    }
  }

  #begun(reading: R): R {
    this.#reading = reading
    this.#isReady = true
    this.#ready.resolve()
    return reading
  }
}

function readiness() {
  const ready = Promise.withResolvers<void>()
  ready.promise.catch(() => undefined)
  return ready
}

/** Resolves once each has its first token at the same time; rejects when one fails for good. */
export async function allReady(
  choices: readonly Pick<HeldChoice<Reading>, 'ready' | 'isReady' | 'settled'>[],
): Promise<void> {
  const failure = Promise.all(choices.map(({ settled }) => settled))
  do await Promise.race([Promise.all(choices.map(({ ready }) => ready)), failure])
  while (!choices.every(({ isReady }) => isReady))
}

export interface Indexed<T> {
  readonly index: number
  readonly value: T
}

/** Several streams as one, each value as soon as it is there. A stream that throws ends the whole. */
export async function* merge<T>(
  streams: readonly AsyncIterator<T, void>[],
): AsyncGenerator<Indexed<T>, void> {
  const [only] = streams
  if (only !== undefined && streams.length === 1) {
    for (let next = await only.next(); next.done !== true; next = await only.next())
      yield { index: 0, value: next.value }
    return
  }
  const next = (index: number) => {
    const value = (async () => ({ index, result: await streams[index]?.next() }))()
    // A reader that stops early leaves pending values unread; their failures must not go unhandled.
    value.catch(() => undefined)
    return value
  }
  const pending = new Map(streams.map((_, index) => [index, next(index)]))
  while (pending.size > 0) {
    const { index, result } = await Promise.race(pending.values())
    if (result === undefined || result.done === true) {
      pending.delete(index)
      continue
    }
    pending.set(index, next(index))
    yield { index, value: result.value }
  }
}
