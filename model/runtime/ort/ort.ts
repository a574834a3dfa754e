import { OrtApi } from './api.ts'
import { koffi } from './foreign-functions.ts'
import { packagedLibrary, pinnedRelease } from './library.ts'

/** `ORT_LOGGING_LEVEL_ERROR`: failures come back as statuses; warnings are about graphs, and for their makers. */
export const errorsOnly = 3

/**
 * ONNX Runtime in this process: its functions and what all sessions share. The environment lives as long as the process,
 * as the library's own threads may outlast every session.
 */
export class Ort {
  readonly api: OrtApi
  readonly environment: bigint
  /** Frees what the library allocates for its callers; the library's own. */
  readonly allocator: bigint
  /** `OrtMemoryInfo*` of host memory. */
  readonly hostMemory: bigint
  static readonly #loaded = new Map<string, Ort>()

  private constructor(library: string) {
    const api = OrtApi.load(library, pinnedRelease())
    this.api = api
    this.environment = addressFrom((out) => api.call('CreateEnv', errorsOnly, 'quartet', out))
    this.allocator = addressFrom((out) => api.call('GetAllocatorWithDefaultOptions', out))
    // OrtDeviceAllocator, OrtMemTypeDefault
    this.hostMemory = addressFrom((out) => api.call('CreateCpuMemoryInfo', 0, 0, out))
  }

  /** The library at this path, loaded once; by default the one that comes with the npm package. Throws `node_unavailable`. */
  static load(library: string = packagedLibrary()): Ort {
    const loaded = Ort.#loaded.get(library) ?? new Ort(library)
    Ort.#loaded.set(library, loaded)
    return loaded
  }

  /** Execution providers that this build of the library knows, like `CPUExecutionProvider`. */
  get providers(): readonly string[] {
    const count = new Int32Array(1)
    const names = addressFrom((out) => this.api.call('GetAvailableProviders', out, count))
    try {
      return koffi.decode(names, 'str', count[0] ?? 0)
    } finally {
      this.api.call('ReleaseAvailableProviders', names, count[0] ?? 0)
    }
  }
}

/** The address that a call writes through a pointer. */
export function addressFrom(call: (out: BigUint64Array) => void): bigint {
  const out = new BigUint64Array(1)
  call(out)
  return out[0] ?? 0n
}

/** The size that a call writes through a pointer. */
export function sizeFrom(call: (out: BigUint64Array) => void): number {
  return Number(addressFrom(call))
}
