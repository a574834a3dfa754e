import type { Tensors } from '../tensors.ts'
import { BoundTensors, type FeedsAndOutputs, type PreparedTensors, prepared } from './bound-tensors.ts'
import { CString } from './c-string.ts'
import { DeviceMemory, isHostMemory, type RunTensors } from './device-memory.ts'
import { koffi } from './foreign-functions.ts'
import { addressFrom, type Ort, sizeFrom } from './ort.ts'
import { joined, RunValues, type ValueList } from './run-values.ts'
import { type SessionSettings, sessionOptions } from './session-options.ts'
import { OrtValue } from './value.ts'

export interface NativeSessionOptions extends SessionSettings {
  /** A session of a graph with the same inputs and outputs: what is bound to it is bound to this one too. */
  readonly boundWith?: NativeSession | undefined
}

export interface RunIntoOptions {
  /** Further inputs and outputs of the run: those bound to the session need no values of their own for each run. */
  readonly beside?: readonly FeedsAndOutputs[]
  /**
   * As which this run is captured, where the session captures; later runs of that number repeat it, so that all addresses
   * must be the same.
   */
  readonly capture?: number | undefined
}

/** Some inputs of a graph lie on the device and others do not. */
export class SplitMemoryError extends Error {
  override readonly name = 'SplitMemoryError'

  constructor() {
    super('some inputs lie on the device and others do not')
  }
}

/** An `OrtSession`: one graph, loaded. Runs and the loading itself are on other threads. */
export class NativeSession {
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly #ort: Ort
  #address: bigint | undefined
  readonly #names: ReadonlyMap<string, CString>
  readonly #running = new Set<Promise<unknown>>()
  readonly #memories: DeviceMemory[] = []
  /** Those that their owners have not released. */
  readonly #bound = new Set<BoundTensors>()
  readonly #boundWith: NativeSession | undefined
  #hostBytes = 0

  private constructor(
    ort: Ort,
    { address, boundWith }: { address: bigint; boundWith: NativeSession | undefined },
  ) {
    this.#ort = ort
    this.#address = address
    this.#boundWith = boundWith
    this.inputs = namesOf(ort, address, { count: 'SessionGetInputCount', name: 'SessionGetInputName' })
    this.outputs = namesOf(ort, address, { count: 'SessionGetOutputCount', name: 'SessionGetOutputName' })
    this.#names = new Map([...this.inputs, ...this.outputs].map((name) => [name, new CString(name)]))
    if (boundWith !== undefined && !sameNames(this, boundWith))
      throw new Error('sessions that have bound tensors in common differ in their inputs or outputs')
  }

  /** Loads a graph from a file, or from bytes, which may refer to files in `weightsFolder`. Throws `OrtError`. */
  static async open(
    ort: Ort,
    model: string | Uint8Array,
    options: NativeSessionOptions,
  ): Promise<NativeSession> {
    const { api, environment } = ort
    const native = sessionOptions(ort, options)
    try {
      const out = new BigUint64Array(1)
      if (typeof model === 'string') await api.callAside('CreateSession', environment, model, native, out)
      else await api.callAside('CreateSessionFromArray', environment, model, model.byteLength, native, out)
      const [session = 0n] = out
      try {
        return new NativeSession(ort, { address: session, boundWith: options.boundWith })
      } catch (error) {
        await api.callAside('ReleaseSession', session)
        throw error
      }
    } finally {
      api.call('ReleaseSessionOptions', native)
    }
  }

  /** Bytes of this process's memory that its runs have read and written: on a device, those that crossed. */
  get hostBytes(): number {
    return this.#hostBytes
  }

  /** The memory in which the session has these inputs. Throws where they do not lie in the same. */
  memoryOf(inputs: readonly string[]): DeviceMemory {
    const session = this.#address
    if (session === undefined) throw new Error('the session was freed')
    const infos = new BigUint64Array(this.inputs.length)
    this.#ort.api.call('SessionGetMemoryInfoForInputs', session, infos, infos.length)
    const memories = inputs.map((input) => {
      const memoryInfo = infos[this.inputs.indexOf(input)]
      if (!memoryInfo) throw new Error(`the graph has no input ${input}`)
      return { memoryInfo, isHost: isHostMemory(this.#ort, memoryInfo) }
    })
    const [first] = memories
    if (first === undefined || memories.some(({ isHost }) => isHost !== first.isHost))
      throw new SplitMemoryError()
    const memory = new DeviceMemory({ ort: this.#ort, session, ...first })
    this.#memories.push(memory)
    return memory
  }

  /** Binds tensors that many runs have in common (`RunIntoOptions.beside`). Throws for a name that the graph does not have. */
  bind<T extends RunTensors>(tensors: FeedsAndOutputs<T>): BoundTensors<T> {
    if (this.#address === undefined) throw new Error('the session was freed')
    const bound = new BoundTensors({
      ort: this.#ort,
      tensors,
      addressesOf: (names) => this.#addressesOf(names),
      released: (gone) => this.#bound.delete(gone),
    })
    this.#bound.add(bound)
    return bound
  }

  /**
   * Runs the graph once for these outputs, which the library allocates and this copies. Throws the reason of `signal`
   * where that ends the run, which it does between two operators.
   */
  run(feeds: RunTensors, outputs: readonly string[], signal?: AbortSignal): Promise<Tensors> {
    return this.#whileLive(async (session) => {
      using values = new RunValues(this.#ort)
      using results = new DisposableStack()
      const { hostBytes, inputs } = this.#prepared({ feeds, outputs: {} }, values)
      this.#hostBytes += hostBytes
      const made = { names: this.#addressesOf(outputs), values: new BigUint64Array(outputs.length) }
      await this.#call(session, { inputs, outputs: made, signal })
      const owned = Array.from(made.values, (address) => results.use(OrtValue.owned(this.#ort, address)))
      const tensors = owned.map((value) => value.read())
      for (const { data } of tensors) this.#hostBytes += data.byteLength
      return Object.fromEntries(tensors.map((tensor, at) => [outputs[at], tensor]))
    })
  }

  /** Runs the graph once, writing its outputs to these tensors, which may be among the feeds. */
  runInto(
    feeds: RunTensors,
    outputs: RunTensors,
    { beside = [], capture }: RunIntoOptions = {},
  ): Promise<void> {
    return this.#whileLive(async (session) => {
      using used = new DisposableStack()
      const values = used.use(new RunValues(this.#ort))
      const parts = beside.map((part) =>
        part instanceof BoundTensors ? used.use(this.#own(part).use()) : this.#prepared(part, values),
      )
      parts.push(this.#prepared({ feeds, outputs }, values))
      for (const { hostBytes } of parts) this.#hostBytes += hostBytes
      await this.#call(session, {
        inputs: joined(parts.map((part) => part.inputs)),
        outputs: joined(parts.map((part) => part.outputs)),
        capture,
      })
    })
  }

  #prepared(tensors: FeedsAndOutputs, values: RunValues): PreparedTensors {
    return prepared(tensors, { addressesOf: (names) => this.#addressesOf(names), values })
  }

  /** Whether these tensors are bound to it, and not released. */
  has(bound: BoundTensors): boolean {
    return this.#bound.has(bound)
  }

  #own(bound: BoundTensors): BoundTensors {
    if (this.has(bound) || this.#boundWith?.has(bound)) return bound
    throw new Error('bound tensors were released, or are bound to another session')
  }

  async #call(session: bigint, { capture, inputs, outputs, signal }: RunArguments): Promise<void> {
    signal?.throwIfAborted()
    using options =
      signal === undefined && capture === undefined
        ? undefined
        : new RunOptions(this.#ort, { capture, signal })
    try {
      await this.#ort.api.callAside(
        'Run',
        session,
        options?.address ?? null,
        inputs.names,
        inputs.values,
        inputs.values.length,
        outputs.names,
        outputs.values.length,
        outputs.values,
      )
    } catch (cause) {
      signal?.throwIfAborted()
      throw cause
    }
  }

  /** The session is not freed before the work is over, which includes what it frees itself. */
  async #whileLive<T>(work: (session: bigint) => Promise<T>): Promise<T> {
    if (this.#address === undefined) throw new Error('the session was freed')
    const running = work(this.#address)
    this.#running.add(running)
    try {
      return await running
    } finally {
      this.#running.delete(running)
    }
  }

  /** Frees the graph once its last run has ended; a second call does nothing. */
  async release(): Promise<void> {
    const address = this.#address
    if (address === undefined) return
    this.#address = undefined
    await Promise.allSettled(this.#running)
    for (const bound of this.#bound) bound[Symbol.dispose]()
    for (const memory of this.#memories) memory.release()
    await this.#ort.api.callAside('ReleaseSession', address)
  }

  #addressesOf(names: readonly string[]): BigUint64Array {
    return BigUint64Array.from(names, (name) => {
      const known = this.#names.get(name)
      if (known === undefined) throw new Error(`the graph has no input or output ${name}`)
      return known.address
    })
  }
}

/** Whether two graphs have the same inputs and outputs. */
function sameNames(a: NativeSession, b: NativeSession): boolean {
  const namesIn = ({ inputs, outputs }: NativeSession) => [...inputs, ...outputs].sort().join()
  return namesIn(a) === namesIn(b)
}

interface RunArguments {
  readonly inputs: ValueList
  /** The library makes a value where there is none. */
  readonly outputs: ValueList
  /** Ends the run. */
  readonly signal?: AbortSignal | undefined
  /** As which run of a session that captures it is captured. */
  readonly capture?: number | undefined
}

/** An `OrtRunOptions` through which a signal ends a run. */
class RunOptions implements Disposable {
  readonly address: bigint
  readonly #ort: Ort
  readonly #signal: AbortSignal | undefined
  readonly #end = (): void => this.#ort.api.call('RunOptionsSetTerminate', this.address)

  constructor(ort: Ort, { capture, signal }: Pick<RunArguments, 'capture' | 'signal'>) {
    this.#ort = ort
    this.#signal = signal
    this.address = addressFrom((out) => ort.api.call('CreateRunOptions', out))
    using failing = new DisposableStack()
    failing.use(this)
    // The name is CUDA's and WebGPU's both.
    if (capture !== undefined) ort.api.call('AddRunConfigEntry', this.address, 'gpu_graph_id', `${capture}`)
    failing.move()
    signal?.addEventListener('abort', this.#end)
  }

  [Symbol.dispose](): void {
    this.#signal?.removeEventListener('abort', this.#end)
    this.#ort.api.call('ReleaseRunOptions', this.address)
  }
}

function namesOf(
  { api, allocator }: Ort,
  session: bigint,
  functions:
    | { count: 'SessionGetInputCount'; name: 'SessionGetInputName' }
    | { count: 'SessionGetOutputCount'; name: 'SessionGetOutputName' },
): readonly string[] {
  const count = sizeFrom((out) => api.call(functions.count, session, out))
  return Array.from({ length: count }, (_, index) => {
    const text = addressFrom((out) => api.call(functions.name, session, index, allocator, out))
    try {
      return koffi.decode.string(text)
    } finally {
      api.call('AllocatorFree', allocator, text)
    }
  })
}
