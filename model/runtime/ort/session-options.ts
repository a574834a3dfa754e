import { CString } from './c-string.ts'
import type { DeviceTensor } from './device-memory.ts'
import { addressFrom, errorsOnly, type Ort } from './ort.ts'

/** How a session is made, as ONNX Runtime takes it. */
export interface SessionSettings {
  /** Threads that share one operator's work; ONNX Runtime takes one per core when absent. */
  readonly threads?: number | undefined
  /** False where inputs differ in shape from run to run: a plan of memory per shape would be kept for each. */
  readonly memoryPattern: boolean
  /** The execution provider before the CPU's, and its settings. */
  readonly provider?: {
    readonly name: 'WebGPU' | 'CUDA'
    readonly settings: Readonly<Record<string, string>>
  }
  /**
   * Constants of the graph that lie in memory already, by name: where the session has them in that very memory it uses them
   * there, and else it makes its own. They outlive the session.
   */
  readonly initializers?: Readonly<Record<string, DeviceTensor>> | undefined
  /** The folder of the files that a graph in memory refers to. */
  readonly weightsFolder?: string | undefined
}

/** `OrtSessionOptions`, which the caller releases. Throws `OrtError`. */
export function sessionOptions(
  ort: Ort,
  { initializers = {}, threads, memoryPattern, provider, weightsFolder }: SessionSettings,
): bigint {
  const { api } = ort
  const options = addressFrom((out) => api.call('CreateSessionOptions', out))
  try {
    api.call('SetSessionLogSeverityLevel', options, errorsOnly)
    // Threads wait busily while a run lasts, and leave the cores to others between runs.
    api.call('AddSessionConfigEntry', options, 'session.force_spinning_stop', '1')
    // Weights that a graph dequantises are computed once, when it is loaded, and not in each run.
    api.call('AddSessionConfigEntry', options, 'session.disable_quant_qdq', '1')
    if (weightsFolder !== undefined)
      api.call(
        'AddSessionConfigEntry',
        options,
        'session.model_external_initializers_file_folder_path',
        weightsFolder,
      )
    if (threads !== undefined) api.call('SetIntraOpNumThreads', options, threads)
    if (!memoryPattern) api.call('DisableMemPattern', options)
    for (const [name, { address }] of Object.entries(initializers))
      api.call('AddInitializer', options, name, address)
    if (provider !== undefined) appendProvider(ort, options, provider)
    return options
  } catch (error) {
    api.call('ReleaseSessionOptions', options)
    throw error
  }
}

function appendProvider(
  { api }: Ort,
  options: bigint,
  { name, settings }: NonNullable<SessionSettings['provider']>,
): void {
  const keys = Object.keys(settings).map((key) => new CString(key))
  const values = Object.values(settings).map((value) => new CString(value))
  const keyAddresses = BigUint64Array.from(keys, ({ address }) => address)
  const valueAddresses = BigUint64Array.from(values, ({ address }) => address)
  if (name === 'WebGPU') {
    const names = [keyAddresses, valueAddresses] as const
    api.call('SessionOptionsAppendExecutionProvider', options, name, ...names, keys.length)
    return
  }
  const cuda = addressFrom((out) => api.call('CreateCUDAProviderOptions', out))
  try {
    api.call('UpdateCUDAProviderOptions', cuda, keyAddresses, valueAddresses, keys.length)
    api.call('SessionOptionsAppendExecutionProvider_CUDA_V2', options, cuda)
  } finally {
    api.call('ReleaseCUDAProviderOptions', cuda)
  }
}
