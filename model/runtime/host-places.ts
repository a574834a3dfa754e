import type { PlacedSlot } from './placed-slot.ts'

/** Rows `from` to `to` of one place. */
export interface RowRange {
  readonly place: number
  readonly from: number
  readonly to: number
}

/** The slot at each place of a cache in host memory, and the rows whose memory each place has taken. */
export class HostPlaces {
  /** The slot at each place. */
  readonly #slots: (PlacedSlot | undefined)[]
  /** Most rows written at each place since its memory was last given back. */
  readonly #written: number[]

  constructor(count: number) {
    this.#slots = Array<undefined>(count).fill(undefined)
    this.#written = this.#slots.map(() => 0)
  }

  get count(): number {
    return this.#slots.length
  }

  get isEmpty(): boolean {
    return this.#slots.every((slot) => slot === undefined)
  }

  /** Rows that slots have reserved. */
  get reserved(): number {
    return this.#slots.reduce((sum, slot) => sum + (slot?.reserved ?? 0), 0)
  }

  /** Rows whose memory is taken or promised, once a slot of `rows` stands at this place. */
  committedWith({ place, rows }: { place: number; rows: number }): number {
    return this.#slots.reduce((sum, slot, at) => {
      const reserved = at === place ? rows : (slot?.reserved ?? 0)
      return sum + Math.max(reserved, this.#writtenAt(at))
    }, 0)
  }

  at(place: number): PlacedSlot | undefined {
    return this.#slots[place]
  }

  has(slot: PlacedSlot): boolean {
    return this.#slots[slot.index] === slot
  }

  /** Rows filled at each place. */
  get lengths(): readonly number[] {
    return this.#slots.map((slot) => slot?.length ?? 0)
  }

  /** The free place that wastes least of the memory taken: the smallest that has the rows, else the largest. */
  placeFor(rows: number): number | undefined {
    const free = [...this.#slots.keys()].filter((place) => this.#slots[place] === undefined)
    const bySize = free.toSorted((a, b) => this.#writtenAt(a) - this.#writtenAt(b))
    return bySize.find((place) => this.#writtenAt(place) >= rows) ?? bySize.at(-1)
  }

  set(place: number, slot: PlacedSlot | undefined): void {
    this.#slots[place] = slot
    if (slot === undefined) return
    slot.index = place
    this.noteWritten(slot)
  }

  /** The rows of a slot have been written. */
  noteWritten({ index, length }: PlacedSlot): void {
    this.#written[index] = Math.max(this.#writtenAt(index), length)
  }

  /** The memory was given back, but for the rows that slots fill. */
  forgetWritten(): void {
    for (const [place, length] of this.lengths.entries()) this.#written[place] = length
  }

  /** The rows that no slot has reserved and whose memory is taken. The caller gives it back. */
  takeLeftovers(): readonly RowRange[] {
    const leftovers: RowRange[] = []
    for (const [place, slot] of this.#slots.entries()) {
      const from = slot?.reserved ?? 0
      const to = this.#writtenAt(place)
      if (to <= from) continue
      leftovers.push({ place, from, to })
      this.#written[place] = from
    }
    return leftovers
  }

  /** Where so many neighbouring places begin that the fewest rows must be moved to have these slots there. */
  cheapestStart(slots: ReadonlySet<PlacedSlot | undefined>): number {
    const moved = (first: number) =>
      this.#slots.reduce((rows, slot, place) => {
        const isInside = place >= first && place < first + slots.size
        return rows + (slots.has(slot) === isInside ? 0 : (slot?.length ?? 0))
      }, 0)
    let best = 0
    let fewest = Number.POSITIVE_INFINITY
    for (let first = 0; fewest > 0 && first + slots.size <= this.#slots.length; first++) {
      const rows = moved(first)
      if (rows >= fewest) continue
      fewest = rows
      best = first
    }
    return best
  }

  #writtenAt(place: number): number {
    return this.#written[place] ?? 0
  }
}
