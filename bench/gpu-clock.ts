/** No measurement begins after this many seconds, so that the whole ends within eight minutes. */
const lastStart = 420

/** Says what is done, with the seconds since the start before each line. */
export class Clock {
  readonly #start = performance.now()

  get seconds(): number {
    return (performance.now() - this.#start) / 1000
  }

  say(text: string): void {
    console.log(`${this.seconds.toFixed(0).padStart(4)} s  ${text}`)
  }

  /** Says what begins, or that there is no time left for it. */
  begins(text: string): boolean {
    const hasTime = this.seconds < lastStart
    this.say(hasTime ? text : `left out, no time: ${text}`)
    return hasTime
  }
}
