import { QuartetError } from '../../shared/errors.ts'
import type { KeptRows } from './backend.ts'

/** Rows of every layer that are kept on a device. */
export class DeviceKeptRows implements KeptRows {
  /** How many of each layer. */
  readonly rows: readonly number[]
  /** Where they lie in the pool: a layer's row i in unit i. */
  readonly units: readonly number[]
  readonly bytes: number
  readonly #free: (kept: DeviceKeptRows) => void

  constructor({
    bytes,
    free,
    rows,
    units,
  }: Pick<DeviceKeptRows, 'bytes' | 'rows' | 'units'> & { free: (kept: DeviceKeptRows) => void }) {
    this.bytes = bytes
    this.rows = rows
    this.units = units
    this.#free = free
  }

  release(): void {
    this.#free(this)
  }
}

/** Which units of a device's memory for kept rows are free. A unit holds a row of each layer. */
export class KeptPool {
  readonly #rowBytes: number
  readonly #free: number[]
  readonly #taken = new Set<DeviceKeptRows>()

  /** `rowBytes`: of a row in all layers. */
  constructor({ rowBytes, rows }: { rowBytes: number; rows: number }) {
    this.#rowBytes = rowBytes
    this.#free = Array.from({ length: rows }, (_, at) => rows - 1 - at)
  }

  has(kept: DeviceKeptRows): boolean {
    return this.#taken.has(kept)
  }

  /** Throws `node_error` when too few are free: the caller has kept more than the memory was allocated for. */
  take(rows: readonly number[]): DeviceKeptRows {
    const count = unitsOf(rows)
    if (count > this.#free.length)
      throw new QuartetError(
        'node_error',
        `${count} rows cannot be kept on the device, ${this.#free.length} are free: raise --prefix-bytes`,
      )
    const units = this.#free.splice(this.#free.length - count, count)
    const bytes = this.bytesOf(rows)
    const kept = new DeviceKeptRows({ bytes, rows, units, free: (own) => this.#give(own) })
    this.#taken.add(kept)
    return kept
  }

  bytesOf(rows: readonly number[]): number {
    return unitsOf(rows) * this.#rowBytes
  }

  #give(kept: DeviceKeptRows): void {
    if (!this.#taken.delete(kept)) return
    this.#free.push(...kept.units)
  }
}

/** Units that so many rows of each layer take. */
const unitsOf = (rows: readonly number[]): number => Math.max(...rows)
