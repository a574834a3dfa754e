import { readFile, realpath, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { QuartetError } from '../../shared/errors.ts'
import { graphFiles } from '../graph/export.ts'
import { returnFreed } from './memory-pages.ts'
import type { BoundTensors, FeedsAndOutputs } from './ort/bound-tensors.ts'
import { cudaLibrary } from './ort/cuda.ts'
import type { DeviceMemory, RunTensors } from './ort/device-memory.ts'
import { NativeSession, type NativeSessionOptions, type RunIntoOptions } from './ort/native-session.ts'
import { Ort } from './ort/ort.ts'
import type { Tensors } from './tensors.ts'

/** ONNX Runtime's execution providers that a node can run on. */
export const devices = ['cpu', 'webgpu', 'cuda'] as const
export type Device = (typeof devices)[number]

export interface SessionOptions {
  readonly device: Device
  /** Threads that share one operator's work; ONNX Runtime takes one per core when absent. */
  readonly threads?: number | undefined
  /** Names of graph nodes that stay on the CPU on every device. */
  readonly cpuNodes?: readonly string[]
  /** False where inputs differ in shape from run to run; true when absent. */
  readonly memoryPattern?: boolean
  /** Whether runs with a number are captured once by the GPU and repeated from then on; a CPU has no such thing. */
  readonly captures?: boolean
  /** Constants of the graph that lie in the device's memory already, and stay there for as long as the session. */
  readonly initializers?: NativeSessionOptions['initializers']
}

type Provider = NonNullable<NativeSessionOptions['provider']>

/** The execution provider of each device, its settings, and what to do when it does not start. */
const providers: {
  readonly [D in Device]: {
    readonly fullName: string
    readonly provider?: (options: { cpuNodes: readonly string[]; captures: boolean }) => Provider
    /** Loads the library that has the provider. */
    readonly load: () => Ort
    readonly remedy: string
  }
} = {
  cpu: {
    fullName: 'CPUExecutionProvider',
    load: () => Ort.load(),
    remedy: 'remove the backbone folder and pull it again',
  },
  webgpu: {
    fullName: 'WebGpuExecutionProvider',
    load: () => Ort.load(),
    // A setting without a value is refused.
    provider: ({ captures, cpuNodes }) => ({
      name: 'WebGPU',
      settings: {
        ...(cpuNodes.length > 0 && { forceCpuNodeNames: cpuNodes.join('\n') }),
        ...(captures && { enableGraphCapture: '1' }),
      },
    }),
    remedy:
      'it needs a GPU with a Vulkan, Metal or D3D12 driver (libvulkan.so.1 on Linux); use --device cpu without one',
  },
  cuda: {
    fullName: 'CUDAExecutionProvider',
    load: () => Ort.load(cudaLibrary()),
    // By default the arena doubles, and a cache of most of the device would not fit in it.
    provider: ({ captures }) => ({
      name: 'CUDA',
      settings: { arena_extend_strategy: 'kSameAsRequested', ...(captures && { enable_cuda_graph: '1' }) },
    }),
    remedy: 'see whether `nvidia-smi` shows the GPU and how much of its memory is free, or use --device cpu',
  },
}

/** A graph in a backbone's folder, beside the weights that it refers to. */
interface GraphOfBackbone {
  readonly folder: string
  readonly graph: string
  /** What becomes of it before it is loaded. */
  readonly change?: ((model: Uint8Array) => Uint8Array) | undefined
  /** The setting with which it is loaded in less memory, beside fewer bits; for the refusal where there is too little. */
  readonly saving?: string | undefined
}

/** One graph, loaded and ready to run. */
export class InferenceSession {
  readonly #session: NativeSession
  #released = false

  private constructor(session: NativeSession) {
    this.#session = session
  }

  /** Loads a graph of a backbone. Throws `backbone_invalid` or `node_unavailable` that names the remedy. */
  static open(of: GraphOfBackbone, options: SessionOptions): Promise<InferenceSession> {
    return InferenceSession.#open(of, options)
  }

  /** The same for a graph with the inputs and outputs of this one: what is bound to this session is bound to that one too. */
  openBeside(of: GraphOfBackbone, options: SessionOptions): Promise<InferenceSession> {
    return InferenceSession.#open(of, options, this.#session)
  }

  static async #open(
    { change, folder, graph, saving }: GraphOfBackbone,
    options: SessionOptions,
    boundWith?: NativeSession,
  ): Promise<InferenceSession> {
    const { ort, native } = nativeOptions(options)
    const path = join(folder, graph)
    const all = { ...native, boundWith }
    try {
      if (change === undefined) return new InferenceSession(await NativeSession.open(ort, path, all))
      // Beside a graph in memory the library takes no links to weights in another folder, as it does beside a file.
      const weightsFolder = dirname(await realpath(join(folder, graphFiles.weights)))
      const model = change(await readFile(path))
      const session = await NativeSession.open(ort, model, { ...all, weightsFolder })
      // What a change computes from weights at loading leaves behind up to as much as the whole session holds.
      await returnFreed()
      return new InferenceSession(session)
    } catch (cause) {
      throw await loadFailure(cause, { folder, file: graph, device: options.device, saving })
    }
  }

  /** Loads a graph that lives in memory. Throws `OrtError`, or `node_unavailable` where the device is not there. */
  static async fromModel(model: Uint8Array, options: SessionOptions): Promise<InferenceSession> {
    const { ort, native } = nativeOptions(options)
    return new InferenceSession(await NativeSession.open(ort, model, native))
  }

  /** Names of the graph's inputs. */
  get inputs(): readonly string[] {
    return this.#session.inputs
  }

  /** Names of the graph's outputs. */
  get outputs(): readonly string[] {
    return this.#session.outputs
  }

  /** Bytes of this process's memory that its runs have read and written: on a device, those that crossed. */
  get hostBytes(): number {
    return this.#session.hostBytes
  }

  /** The memory in which the session has these inputs. Throws where they do not lie in the same. */
  memoryOf(inputs: readonly string[]): DeviceMemory {
    return this.#session.memoryOf(inputs)
  }

  /** Binds tensors that many runs have in common (`RunIntoOptions.beside`). Throws for a name that the graph does not have. */
  bind<T extends RunTensors>(tensors: FeedsAndOutputs<T>): BoundTensors<T> {
    this.#checkOpen()
    return this.#session.bind(tensors)
  }

  /** Runs the graph once for these outputs. Throws the reason of `signal` where that ends the run. */
  async run(feeds: RunTensors, outputs: readonly string[], signal?: AbortSignal): Promise<Tensors> {
    try {
      return await this.#computing(() => this.#session.run(feeds, outputs, signal))
    } catch (thrown) {
      signal?.throwIfAborted()
      throw thrown
    }
  }

  /** Runs the graph once, writing its outputs to these tensors, which may be among the feeds. */
  async runInto(feeds: RunTensors, outputs: RunTensors, options?: RunIntoOptions): Promise<void> {
    await this.#computing(() => this.#session.runInto(feeds, outputs, options))
  }

  async #computing<T>(compute: () => Promise<T>): Promise<T> {
    this.#checkOpen()
    try {
      return await compute()
    } catch (cause) {
      throw new QuartetError('node_error', `the model failed to run: ${firstLine(cause)}`, { cause })
    }
  }

  #checkOpen(): void {
    if (this.#released)
      throw new QuartetError('node_unavailable', 'the model is closed; the node is shutting down')
  }

  /** Frees the model's memory when its last run has ended; a second call does nothing. */
  async release(): Promise<void> {
    if (this.#released) return
    this.#released = true
    await this.#session.release()
  }
}

/** What C++, ONNX Runtime, JavaScript and the operating system say where there is no memory. */
const withoutMemory = /bad.alloc|failed to allocate|allocation failed|cannot allocate memory|out of memory/i

interface FailedFile extends Pick<GraphOfBackbone, 'folder' | 'saving'> {
  readonly device: Device
  readonly file: string
}

/**
 * Why a file of a backbone was not loaded, with the remedy: `backbone_invalid`, or `node_unavailable` on a device and where there
 * is too little memory.
 */
export async function loadFailure(
  cause: unknown,
  { device, file, folder, saving }: FailedFile,
): Promise<QuartetError> {
  const said = firstLine(cause)
  const reason = `cannot load ${join(folder, file)} on ${device}: ${said}`
  const { remedy } = providers[device]
  const isOnHost = device === 'cpu'
  if (isOnHost && !withoutMemory.test(said))
    return new QuartetError('backbone_invalid', `${reason}; ${remedy}`, { cause })
  const weights = await stat(join(folder, graphFiles.weights)).catch(() => undefined)
  const size = weights && `${Math.ceil(weights.size / 2 ** 20)} MiB`
  const fewer = 'take a backbone in fewer bits (--weights)'
  if (isOnHost)
    return new QuartetError(
      'node_unavailable',
      `${reason}; there is too little memory for it${size ? `, whose weights alone take ${size}` : ''}: give the process more, ${saving ? `use ${saving}, ` : ''}or ${fewer}`,
      { cause },
    )
  const memory = size && `; the weights take ${size} of its memory: where it has less free, ${fewer}`
  return new QuartetError('node_unavailable', `${reason}; ${remedy}${memory ?? ''}`, { cause })
}

/** The library that has the device's provider, and how a session is opened on it. Throws `node_unavailable`. */
function nativeOptions({
  captures = false,
  cpuNodes = [],
  device,
  initializers,
  memoryPattern = true,
  threads,
}: SessionOptions): {
  ort: Ort
  native: NativeSessionOptions
} {
  const { fullName, provider, load } = providers[device]
  const ort = load()
  if (!ort.providers.includes(fullName))
    throw new QuartetError(
      'node_unavailable',
      `this build of ONNX Runtime has no ${device} provider; use --device cpu`,
    )
  return {
    ort,
    native: {
      threads,
      memoryPattern,
      initializers,
      ...(provider && { provider: provider({ captures, cpuNodes }) }),
    },
  }
}

/** Describes what was thrown in one line. */
export function firstLine(thrown: unknown): string {
  return (thrown instanceof Error ? thrown.message : String(thrown)).split('\n', 1)[0] ?? ''
}
