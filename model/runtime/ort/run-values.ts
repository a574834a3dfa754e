import type { Tensor } from '../tensors.ts'
import { DeviceTensor } from './device-memory.ts'
import type { Ort } from './ort.ts'
import { OrtValue } from './value.ts'

/** Names and values of some inputs or outputs in one order: `char*` and `OrtValue*`. */
export interface ValueList {
  readonly names: BigUint64Array
  readonly values: BigUint64Array
}

/** One list behind the other. */
export function joined(lists: readonly ValueList[]): ValueList {
  const length = lists.reduce((sum, { names }) => sum + names.length, 0)
  const [names, values] = [new BigUint64Array(length), new BigUint64Array(length)]
  let at = 0
  for (const list of lists) {
    names.set(list.names, at)
    values.set(list.values, at)
    at += list.names.length
  }
  return { names, values }
}

/** The values of a run's tensors, freed together. A tensor that is both fed and written is one value. */
export class RunValues implements Disposable {
  readonly #ort: Ort
  /** A tensor on a device has a value of its own, whose owner is another. */
  readonly #known = new Map<Tensor | DeviceTensor, OrtValue | DeviceTensor>()

  constructor(ort: Ort) {
    this.#ort = ort
  }

  of(tensor: Tensor | DeviceTensor): bigint {
    const known = this.#known.get(tensor)
    if (known !== undefined) return known.address
    const value = tensor instanceof DeviceTensor ? tensor : OrtValue.over(this.#ort, tensor)
    this.#known.set(tensor, value)
    return value.address
  }

  /** Throws where the memory of a value is gone. */
  check(): void {
    for (const value of this.#known.values()) value.check()
  }

  [Symbol.dispose](): void {
    for (const value of this.#known.values()) if (value instanceof OrtValue) value[Symbol.dispose]()
    this.#known.clear()
  }
}
