import { DeviceTensor, type RunTensors } from './device-memory.ts'
import type { Ort } from './ort.ts'
import { RunValues, type ValueList } from './run-values.ts'

/** Tensors that a run reads and tensors that it writes; the same one may be among both. */
export interface FeedsAndOutputs<T extends RunTensors = RunTensors> {
  readonly feeds: T
  readonly outputs: T
}

/** Tensors as `Run` takes them. */
export interface PreparedTensors {
  readonly inputs: ValueList
  readonly outputs: ValueList
  /** Bytes of this process's memory that the run reads and writes. */
  readonly hostBytes: number
}

/** Addresses of names of a graph's inputs and outputs, in this order. Throws for one that the graph does not have. */
type AddressesOf = (names: readonly string[]) => BigUint64Array

/** `values` owns what is made. */
export function prepared(
  { feeds, outputs }: FeedsAndOutputs,
  { addressesOf, values }: { addressesOf: AddressesOf; values: RunValues },
): PreparedTensors {
  const listed = (tensors: RunTensors): ValueList => ({
    names: addressesOf(Object.keys(tensors)),
    values: BigUint64Array.from(Object.values(tensors), (tensor) => values.of(tensor)),
  })
  return {
    inputs: listed(feeds),
    outputs: listed(outputs),
    hostBytes: hostBytesOf(feeds) + hostBytesOf(outputs),
  }
}

function hostBytesOf(tensors: RunTensors): number {
  let bytes = 0
  for (const tensor of Object.values(tensors))
    if (!(tensor instanceof DeviceTensor)) bytes += tensor.data.byteLength
  return bytes
}

/** What `BoundTensors` is made from. */
interface Source<T extends RunTensors> {
  readonly ort: Ort
  readonly tensors: FeedsAndOutputs<T>
  readonly addressesOf: AddressesOf
  /** Tells that the owner has given them back. */
  readonly released: (bound: BoundTensors) => void
}

/**
 * Tensors of a session that are the same memory in many runs: their values are made once and not for each run. Their owner
 * disposes of them before that memory goes, and their session does so at the latest.
 */
export class BoundTensors<T extends RunTensors = RunTensors> implements FeedsAndOutputs<T>, Disposable {
  readonly feeds: T
  readonly outputs: T
  readonly #values: RunValues
  readonly #prepared: PreparedTensors
  readonly #released: (bound: BoundTensors) => void
  #runs = 0
  #isReleased = false

  constructor({ addressesOf, ort, released, tensors }: Source<T>) {
    using failing = new DisposableStack()
    const values = failing.use(new RunValues(ort))
    this.#prepared = prepared(tensors, { addressesOf, values })
    failing.move()
    this.feeds = tensors.feeds
    this.outputs = tensors.outputs
    this.#values = values
    this.#released = released
  }

  /**
   * The tensors for a run, whose values stay until it is disposed of. Throws where the memory of one of them is gone:
   * given away, freed, or given back to its device.
   */
  use(): PreparedTensors & Disposable {
    if (this.#isReleased) throw new Error('bound tensors were used after they were released')
    this.#values.check()
    this.#runs++
    return { ...this.#prepared, [Symbol.dispose]: () => this.#leave() }
  }

  /** Frees the values, behind the last run that uses them; a second call does nothing. */
  [Symbol.dispose](): void {
    if (this.#isReleased) return
    this.#isReleased = true
    this.#released(this)
    this.#freeUnused()
  }

  #leave(): void {
    this.#runs--
    this.#freeUnused()
  }

  #freeUnused(): void {
    if (this.#isReleased && this.#runs === 0) this.#values[Symbol.dispose]()
  }
}
