/** A part whose time similar ones tell. */
export interface Expected {
  /** Kinds of work that it is of, the most alike first. */
  readonly like: readonly string[]
  /** How much of it: a part of twice the size takes twice the time. 1 when absent. */
  readonly size?: number
}

/** Seconds at the end in which nothing begins: what was loaded is given back then. */
const mostSpare = 10

/** The time of a run, which ends within so many minutes. */
export class Clock {
  readonly minutes: number
  readonly #start = performance.now()
  /** Seconds that the last part of each kind took, for one of its size. */
  readonly #took = new Map<string, number>()

  constructor(minutes: number) {
    this.minutes = minutes
  }

  get seconds(): number {
    return (performance.now() - this.#start) / 1000
  }

  /** Seconds that are left. */
  get left(): number {
    return Math.max(0, 60 * this.minutes - this.seconds)
  }

  /** Says what is done, with the seconds since the start before each line. */
  say(text: string): void {
    console.log(`${this.seconds.toFixed(0).padStart(4)} s  ${text}`)
  }

  /** Why a part cannot begin; undefined where it can be over in time, as far as earlier ones tell. */
  obstacle(expected?: Expected): string | undefined {
    const left = this.left - Math.min(mostSpare, 60 * this.minutes * 0.05)
    const seconds = expected === undefined ? 0 : this.#secondsFor(expected)
    if (left > 0 && seconds <= left) return undefined
    const time = `${Math.max(0, left).toFixed(0)} s of ${this.minutes} minutes are left`
    return seconds > 0 ? `no time: it takes about ${seconds.toFixed(0)} s, and ${time}` : `no time: ${time}`
  }

  /** Learns how long a part took. */
  took(seconds: number, { like, size = 1 }: Expected): void {
    for (const kind of like) this.#took.set(kind, seconds / size)
  }

  #secondsFor({ like, size = 1 }: Expected): number {
    for (const kind of like) {
      const known = this.#took.get(kind)
      if (known !== undefined) return known * size
    }
    return 0
  }
}
