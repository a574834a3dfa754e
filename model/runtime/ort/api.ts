import type { KoffiFunc, LibraryHandle } from 'koffi'
import { QuartetError } from '../../../shared/errors.ts'
import {
  type ApiTable,
  type Argument,
  type ArgumentTypes,
  apiTable,
  apiVersion,
  type FunctionRow,
  statusFunctions,
} from './api-table.ts'
import { koffi } from './foreign-functions.ts'

/** A failure that ONNX Runtime reports. */
class OrtError extends Error {
  override readonly name = 'OrtError'
  /** Its `OrtErrorCode`. */
  readonly code: number

  constructor(message: string, code: number) {
    super(message)
    this.code = code
  }
}

type Values<T extends readonly Argument[]> = { -readonly [I in keyof T]: ArgumentTypes[T[I]] }
type NativeFunction = KoffiFunc<(...args: unknown[]) => unknown>

const argumentTypes: Readonly<Record<Argument, string>> = {
  int: 'int',
  size: 'size_t',
  text: 'str',
  path: process.platform === 'win32' ? 'str16' : 'str',
  pointer: 'void *',
}

const remedy = 'run `npm ci` again; for CUDA, `quartet node setup cuda` brings the matching libraries'

/** ONNX Runtime's C API. A status other than success is thrown as an `OrtError`. */
export class OrtApi {
  readonly #functions: ReadonlyMap<keyof ApiTable, NativeFunction>
  readonly #status: StatusReader
  /** Arguments of the calls that run on other threads. */
  readonly #pinned = new Set<readonly unknown[]>()

  private constructor(table: bigint) {
    const rows = Object.entries<FunctionRow>(apiTable)
    const size = 1 + Math.max(...rows.map(([, { offset }]) => offset))
    const addresses: unknown[] = koffi.decode(table, koffi.array('void *', size))
    this.#status = new StatusReader(addresses)
    this.#functions = new Map(
      apiNames.map((name) => {
        const { offset, takes, gives }: FunctionRow = apiTable[name]
        const returns = gives === 'status' ? 'void *' : 'void'
        const native = nativeFunction(addresses[offset], {
          returns,
          takes: takes.map((type) => argumentTypes[type]),
        })
        return [name, native]
      }),
    )
  }

  /**
   * Loads a library and binds its functions. Throws `node_unavailable` for a file that is no ONNX Runtime, or one of
   * another release.
   */
  static load(path: string, release: string): OrtApi {
    const { getApi, version } = apiBase(path)
    if (version !== release)
      throw new QuartetError(
        'node_unavailable',
        `${path} is ONNX Runtime ${version}; this build of Quartet needs ${release}: ${remedy}`,
      )
    const table = getApi(apiVersion)
    if (typeof table !== 'bigint')
      throw new QuartetError(
        'node_unavailable',
        `${path} does not offer API version ${apiVersion}: ${remedy}`,
      )
    return new OrtApi(table)
  }

  call<N extends keyof ApiTable>(name: N, ...args: Values<ApiTable[N]['takes']>): void {
    fix(args)
    this.#status.check(this.#function(name)(...args))
  }

  /** Runs the call on another thread. The memory behind the arguments is kept alive until the call has returned. */
  async callAside<N extends keyof ApiTable>(name: N, ...args: Values<ApiTable[N]['takes']>): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    fix(args)
    this.#pinned.add(args)
    try {
      this.#function(name).async(...args, (failure, status) => {
        if (failure) reject(failure)
        else resolve(status)
      })
      this.#status.check(await promise)
    } finally {
      this.#pinned.delete(args)
    }
  }

  #function(name: keyof ApiTable): NativeFunction {
    const native = this.#functions.get(name)
    if (native === undefined) throw new Error(`${name} is not bound`)
    return native
  }
}

/**
 * Gives typed arrays an address that stays: V8 keeps those of up to 64 bytes in its own heap, where garbage collection
 * moves them, until their buffer is asked for.
 */
function fix(args: readonly unknown[]): void {
  for (const arg of args) if (ArrayBuffer.isView(arg)) void arg.buffer
}

const isApiName = (name: string): name is keyof ApiTable => Object.hasOwn(apiTable, name)
const apiNames = Object.keys(apiTable).filter(isApiName)

/** Reads what an `OrtStatus*` says. */
class StatusReader {
  readonly #code: NativeFunction
  readonly #message: NativeFunction
  readonly #release: NativeFunction

  constructor(addresses: readonly unknown[]) {
    const at = (name: keyof typeof statusFunctions, returns: string) =>
      nativeFunction(addresses[statusFunctions[name]], { returns, takes: ['void *'] })
    this.#code = at('GetErrorCode', 'int')
    this.#message = at('GetErrorMessage', 'str')
    this.#release = at('ReleaseStatus', 'void')
  }

  /** Throws what the status says, and frees it. Null is success. */
  check(status: unknown): void {
    if (typeof status !== 'bigint') return
    const error = new OrtError(String(this.#message(status)), Number(this.#code(status)))
    this.#release(status)
    throw error
  }
}

/** Libraries are unloaded when nothing refers to them, which knows nothing of the functions taken from their tables. */
const loaded: LibraryHandle[] = []

function apiBase(path: string): { getApi: NativeFunction; version: string } {
  try {
    const library = koffi.load(path)
    loaded.push(library)
    const base: unknown = library.func('OrtGetApiBase', 'void *', [])()
    const [getApi, getVersion]: unknown[] = koffi.decode(base, koffi.array('void *', 2))
    const version = nativeFunction(getVersion, { returns: 'str', takes: [] })()
    return {
      getApi: nativeFunction(getApi, { returns: 'void *', takes: ['uint32_t'] }),
      version: String(version),
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new QuartetError('node_unavailable', `cannot load ONNX Runtime: ${reason}; ${remedy}`, { cause })
  }
}

function nativeFunction(
  address: unknown,
  { returns, takes }: { returns: string; takes: readonly string[] },
): NativeFunction {
  return koffi.decode(address, koffi.proto(returns, [...takes]))
}
