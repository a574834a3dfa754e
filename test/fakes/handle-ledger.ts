import { vi } from 'vitest'
import { OrtApi } from '../../model/runtime/ort/api.ts'
import type { ApiTable } from '../../model/runtime/ort/api-table.ts'

type Name = keyof ApiTable

/** The handle that each function makes; its address is written through the last argument. */
const made: Readonly<Partial<Record<Name, string>>> = {
  CreateSession: 'session',
  CreateSessionFromArray: 'session',
  CreateSessionOptions: 'session options',
  CreateRunOptions: 'run options',
  CreateAllocator: 'allocator',
  CreateTensorWithDataAsOrtValue: 'value',
  AllocatorAlloc: 'memory',
  SessionGetInputName: 'memory',
  SessionGetOutputName: 'memory',
}

/** The handle that each function frees, and which argument has its address. */
const freed: Readonly<Partial<Record<Name, readonly [kind: string, argument: number]>>> = {
  ReleaseSession: ['session', 0],
  ReleaseSessionOptions: ['session options', 0],
  ReleaseRunOptions: ['run options', 0],
  ReleaseAllocator: ['allocator', 0],
  ReleaseValue: ['value', 0],
  AllocatorFree: ['memory', 1],
}

/** Counts what ONNX Runtime makes for this process and what it frees, and fails one of its calls. */
export class HandleLedger implements Disposable {
  /** The kinds of those that were made and not freed, by kind and address. */
  readonly #open = new Map<string, string>()
  readonly #spies: readonly Disposable[]
  /** Functions called since the last `fail`, but for those that free. */
  readonly #calls: Name[] = []
  #failing: number | undefined

  constructor() {
    const { call, callAside } = OrtApi.prototype
    const ledger = this
    this.#spies = [
      vi.spyOn(OrtApi.prototype, 'call').mockImplementation(function (this: OrtApi, name, ...args) {
        ledger.#before(name, args)
        Reflect.apply(call, this, [name, ...args])
        ledger.#after(name, args)
      }),
      vi.spyOn(OrtApi.prototype, 'callAside').mockImplementation(async function (
        this: OrtApi,
        name,
        ...args
      ) {
        ledger.#before(name, args)
        await Reflect.apply(callAside, this, [name, ...args])
        ledger.#after(name, args)
      }),
    ]
  }

  /** The kinds of what was made and not freed. */
  get open(): readonly string[] {
    return [...this.#open.values()]
  }

  /** Functions called since the last `fail`, but for those that free. */
  get calls(): readonly Name[] {
    return this.#calls
  }

  /** Fails one of the calls from now on, by its place among those that free nothing; none without it. */
  fail(place?: number): void {
    this.#calls.length = 0
    this.#failing = place
  }

  #before(name: Name, args: readonly unknown[]): void {
    const frees = freed[name]
    if (frees === undefined) {
      this.#calls.push(name)
      if (this.#calls.length - 1 === this.#failing) throw new Error(`${name} failed`)
      return
    }
    const [kind, argument] = frees
    // Before it is freed: then another thread may make one at the same address.
    if (!this.#open.delete(`${kind} ${args[argument]}`)) throw new Error(`a ${kind} was freed twice`)
  }

  #after(name: Name, args: readonly unknown[]): void {
    const out = args.at(-1)
    const kind = name === 'Run' ? 'value' : made[name]
    if (kind === undefined || !(out instanceof BigUint64Array)) return
    // The values that a run was given are among a run's, at their own addresses.
    for (const address of out) this.#open.set(`${kind} ${address}`, kind)
  }

  [Symbol.dispose](): void {
    for (const spy of this.#spies) spy[Symbol.dispose]()
  }
}
