/** The time of a run, which ends within so many minutes. */
export class Clock {
  readonly minutes: number
  readonly #start = performance.now()

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

  /** Why nothing more can begin; undefined where something can. */
  obstacle(): string | undefined {
    return this.left > 0 ? undefined : `no time is left of ${this.minutes} minutes`
  }
}
