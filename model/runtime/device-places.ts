import type { PlacedSlot } from './placed-slot.ts'

/** How a device's rows are shared out among places. */
export interface Layout {
  /** Rows of each place. */
  readonly capacity: number
}

/** A row behind the longest slot, where runs write for places that are not in their batch. */
export const spareRows = 1

/** A free place that a slot is about to have, and that no other gets meanwhile. */
export interface HeldPlace extends Disposable {
  /** Gives it to the slot, which leaves its own. */
  take(slot: PlacedSlot): void
}

/** The slots at the places of a cache on a device. All places have room for the same number of rows. */
export class DevicePlaces {
  readonly #slots: (PlacedSlot | undefined)[]
  readonly #cacheRows: number
  #held: number | undefined
  /** As the rows lie now. */
  layout: Layout

  constructor({ cacheRows, maxBatch }: { cacheRows: number; maxBatch: number }) {
    this.#slots = Array<undefined>(maxBatch).fill(undefined)
    this.#cacheRows = cacheRows
    this.layout = { capacity: Math.floor(cacheRows / maxBatch) }
  }

  get slots(): readonly PlacedSlot[] {
    return this.#slots.filter((slot) => slot !== undefined)
  }

  at(place: number): PlacedSlot | undefined {
    return this.#slots[place]
  }

  has(slot: PlacedSlot): boolean {
    return this.#slots[slot.index] === slot
  }

  set(place: number, slot: PlacedSlot | undefined): void {
    this.#slots[place] = slot
  }

  /** Every slot takes as many rows as the longest. */
  get takenRows(): number {
    return this.slots.length * this.#longest
  }

  /** The first free place, if every slot can have room for `rows` rows then. */
  placeFor(rows: number): number | undefined {
    const place = this.#slots.findIndex((slot, at) => slot === undefined && at !== this.#held)
    const longest = Math.max(rows + spareRows, this.#longest)
    return place === -1 || (this.slots.length + 1) * longest > this.#cacheRows ? undefined : place
  }

  /** The last slot and the first free place in front of it. */
  nextMove(): { slot: PlacedSlot; to: number } | undefined {
    const to = this.#slots.indexOf(undefined)
    const slot = this.#slots.findLast((other) => other !== undefined)
    return slot === undefined || to === -1 || slot.index < to ? undefined : { slot, to }
  }

  /** Until it is disposed of. */
  hold(place: number): HeldPlace {
    this.#held = place
    return {
      take: (slot) => {
        this.#slots[slot.index] = undefined
        this.#slots[place] = slot
        slot.index = place
      },
      [Symbol.dispose]: () => {
        this.#held = undefined
      },
    }
  }

  /** The present layout if the slots fit in it, else the one with most places that they fit in. */
  get wantedLayout(): Layout {
    const { capacity } = this.layout
    const last = this.#slots.findLastIndex((slot) => slot !== undefined)
    if (this.#longest <= capacity && (last + 1) * capacity <= this.#cacheRows) return this.layout
    const places = Math.min(this.#slots.length, Math.floor(this.#cacheRows / this.#longest))
    return { capacity: Math.floor(this.#cacheRows / places) }
  }

  /** Rows that the longest slot may have, with the spare one. */
  get #longest(): number {
    return Math.max(0, ...this.slots.map(({ reserved }) => reserved + spareRows))
  }
}
