import { setImmediate as allPromises } from 'node:timers/promises'

interface Event {
  readonly at: number
  readonly run: () => void
  isCancelled: boolean
}

/** Events by their time, in virtual milliseconds (a binary heap). */
export class EventQueue {
  readonly #heap: Event[] = []
  #now: number

  constructor(start: number) {
    this.#now = start
  }

  readonly now = (): number => this.#now

  /** Returns what cancels it. */
  readonly after = (ms: number, run: () => void): (() => void) => {
    const heap = this.#heap
    const event: Event = { at: this.#now + ms, run, isCancelled: false }
    heap.push(event)
    for (let at = heap.length - 1; at > 0; ) {
      const parent = (at - 1) >> 1
      if (this.#at(parent) <= this.#at(at)) break
      this.#swap(at, parent)
      at = parent
    }
    return () => {
      event.isCancelled = true
    }
  }

  /** Runs everything that is due until `end`, each with all that its promises lead to. */
  async runUntil(end: number): Promise<void> {
    for (let next = this.#heap[0]; next !== undefined && next.at <= end; next = this.#heap[0]) {
      this.#removeFirst()
      if (next.isCancelled) continue
      this.#now = next.at
      next.run()
      await allPromises()
    }
    this.#now = end
  }

  #removeFirst(): void {
    const heap = this.#heap
    this.#swap(0, heap.length - 1)
    heap.pop()
    for (let at = 0; ; ) {
      const left = 2 * at + 1
      const child = this.#at(left + 1) < this.#at(left) ? left + 1 : left
      if (this.#at(at) <= this.#at(child)) return
      this.#swap(at, child)
      at = child
    }
  }

  #at(index: number): number {
    return this.#heap[index]?.at ?? Number.POSITIVE_INFINITY
  }

  #swap(a: number, b: number): void {
    const [first, second] = [this.#heap[a], this.#heap[b]]
    if (first === undefined || second === undefined) return
    this.#heap[a] = second
    this.#heap[b] = first
  }
}
