/** Version of ONNX Runtime's C API that the offsets below are of: `ORT_API_VERSION` in onnxruntime_c_api.h of 1.30. */
export const apiVersion = 30

/** A native address, or memory of a typed array that native code reads or writes during the call. */
type Pointer = bigint | NodeJS.TypedArray | null

/** JavaScript's value for each kind of C argument. */
export interface ArgumentTypes {
  readonly int: number
  readonly size: number
  /** A NUL-terminated string, copied for the call. */
  readonly text: string
  /** A file's path in the platform's own encoding (`ORTCHAR_T*`), copied for the call. */
  readonly path: string
  readonly pointer: Pointer
}

export type Argument = keyof ArgumentTypes

export interface FunctionRow {
  /** Place in `struct OrtApi`, counted in functions. */
  readonly offset: number
  readonly takes: readonly Argument[]
  /** `status`: an `OrtStatus*`, null for success. */
  readonly gives: 'status' | 'nothing'
}

const status = <const T extends readonly Argument[]>(offset: number, ...takes: T) =>
  ({ offset, takes, gives: 'status' }) as const
const release = (offset: number) => ({ offset, takes: ['pointer'], gives: 'nothing' }) as const

/** Places of the functions that read an `OrtStatus`, which need none themselves. */
export const statusFunctions = { GetErrorCode: 1, GetErrorMessage: 2, ReleaseStatus: 93 } as const

/** The functions of `struct OrtApi` that are used here, with their arguments in C's order. */
export const apiTable = {
  CreateEnv: status(3, 'int', 'text', 'pointer'),
  CreateSession: status(7, 'pointer', 'path', 'pointer', 'pointer'),
  CreateSessionFromArray: status(8, 'pointer', 'pointer', 'size', 'pointer', 'pointer'),
  Run: status(9, 'pointer', 'pointer', 'pointer', 'pointer', 'size', 'pointer', 'size', 'pointer'),
  CreateSessionOptions: status(10, 'pointer'),
  DisableMemPattern: status(17, 'pointer'),
  SetSessionLogSeverityLevel: status(22, 'pointer', 'int'),
  SetSessionGraphOptimizationLevel: status(23, 'pointer', 'int'),
  SetIntraOpNumThreads: status(24, 'pointer', 'int'),
  SessionGetInputCount: status(30, 'pointer', 'pointer'),
  SessionGetOutputCount: status(31, 'pointer', 'pointer'),
  SessionGetInputName: status(36, 'pointer', 'size', 'pointer', 'pointer'),
  SessionGetOutputName: status(37, 'pointer', 'size', 'pointer', 'pointer'),
  CreateRunOptions: status(39, 'pointer'),
  RunOptionsSetTerminate: status(46, 'pointer'),
  CreateTensorAsOrtValue: status(48, 'pointer', 'pointer', 'size', 'int', 'pointer'),
  CreateTensorWithDataAsOrtValue: status(
    49,
    'pointer',
    'pointer',
    'size',
    'pointer',
    'size',
    'int',
    'pointer',
  ),
  GetTensorMutableData: status(51, 'pointer', 'pointer'),
  GetValueType: status(67, 'pointer', 'pointer'),
  CreateCpuMemoryInfo: status(69, 'int', 'int', 'pointer'),
  AllocatorAlloc: status(75, 'pointer', 'size', 'pointer'),
  AllocatorFree: status(76, 'pointer', 'pointer'),
  GetAllocatorWithDefaultOptions: status(78, 'pointer'),
  ReleaseMemoryInfo: release(94),
  ReleaseSession: release(95),
  ReleaseValue: release(96),
  ReleaseRunOptions: release(97),
  ReleaseSessionOptions: release(100),
  GetAvailableProviders: status(125, 'pointer', 'pointer'),
  ReleaseAvailableProviders: status(126, 'pointer', 'int'),
  AddSessionConfigEntry: status(130, 'pointer', 'text', 'text'),
  CreateAllocator: status(131, 'pointer', 'pointer', 'pointer'),
  ReleaseAllocator: release(132),
  AddInitializer: status(150, 'pointer', 'text', 'pointer'),
  AddRunConfigEntry: status(165, 'pointer', 'text', 'text'),
  SessionOptionsAppendExecutionProvider_CUDA_V2: status(204, 'pointer', 'pointer'),
  CreateCUDAProviderOptions: status(205, 'pointer'),
  UpdateCUDAProviderOptions: status(206, 'pointer', 'pointer', 'pointer', 'size'),
  ReleaseCUDAProviderOptions: release(208),
  SessionOptionsAppendExecutionProvider: status(216, 'pointer', 'text', 'pointer', 'pointer', 'size'),
  MemoryInfoGetDeviceType: { offset: 225, takes: ['pointer', 'pointer'], gives: 'nothing' },
  SessionGetMemoryInfoForInputs: status(380, 'pointer', 'pointer', 'size'),
  GetTensorElementTypeAndShapeDataReference: status(414, 'pointer', 'pointer', 'pointer', 'pointer'),
} as const satisfies Readonly<Record<string, FunctionRow>>

export type ApiTable = typeof apiTable
