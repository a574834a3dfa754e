import { join } from 'node:path'
import { QuartetError } from '../../shared/errors.ts'
import { cudaLibrary } from './ort/cuda.ts'
import { NativeSession, type NativeSessionOptions } from './ort/native-session.ts'
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
}

type Provider = NonNullable<NativeSessionOptions['provider']>

/** The execution provider of each device, its settings, and what to do when it does not start. */
const providers: {
  readonly [D in Device]: {
    readonly fullName: string
    readonly provider?: (cpuNodes: readonly string[]) => Provider
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
    provider: (cpuNodes) => ({ name: 'WebGPU', settings: { forceCpuNodeNames: cpuNodes.join('\n') } }),
    remedy:
      'it needs a GPU with a Vulkan, Metal or D3D12 driver (libvulkan.so.1 on Linux); use --device cpu without one',
  },
  cuda: {
    fullName: 'CUDAExecutionProvider',
    load: () => Ort.load(cudaLibrary()),
    provider: () => ({ name: 'CUDA', settings: {} }),
    remedy: 'see whether `nvidia-smi` shows the GPU and how much of its memory is free, or use --device cpu',
  },
}

/** One graph, loaded and ready to run. */
export class InferenceSession {
  readonly #session: NativeSession
  #released = false

  private constructor(session: NativeSession) {
    this.#session = session
  }

  /** Loads a graph of a backbone. Throws `backbone_invalid` or `node_unavailable` that names the remedy. */
  static async open(
    path: { folder: string; graph: string },
    options: SessionOptions,
  ): Promise<InferenceSession> {
    const { device, threads, cpuNodes = [], memoryPattern = true } = options
    const { fullName, provider, load, remedy } = providers[device]
    const ort = load()
    if (!ort.providers.includes(fullName))
      throw new QuartetError(
        'node_unavailable',
        `this build of ONNX Runtime has no ${device} provider; use --device cpu`,
      )
    const file = join(path.folder, path.graph)
    try {
      return new InferenceSession(
        await NativeSession.open(ort, file, {
          threads,
          memoryPattern,
          ...(provider && { provider: provider(cpuNodes) }),
        }),
      )
    } catch (cause) {
      throw new QuartetError(
        device === 'cpu' ? 'backbone_invalid' : 'node_unavailable',
        `cannot load ${file} on ${device}: ${firstLine(cause)}; ${remedy}`,
        { cause },
      )
    }
  }

  /** Loads a graph that lives in memory, on the CPU. Throws `OrtError`. */
  static async fromModel(
    model: Uint8Array,
    options: Omit<NativeSessionOptions, 'provider'>,
  ): Promise<InferenceSession> {
    return new InferenceSession(await NativeSession.open(Ort.load(), model, options))
  }

  /** Names of the graph's inputs. */
  get inputs(): readonly string[] {
    return this.#session.inputs
  }

  /** Names of the graph's outputs. */
  get outputs(): readonly string[] {
    return this.#session.outputs
  }

  /** Runs the graph once for these outputs. */
  run(feeds: Tensors, outputs: readonly string[]): Promise<Tensors> {
    return this.#computing(() => this.#session.run(feeds, outputs))
  }

  /** Runs the graph once, writing its outputs to these tensors, which may be among the feeds. */
  async runInto(feeds: Tensors, outputs: Tensors): Promise<void> {
    await this.#computing(() => this.#session.runInto(feeds, outputs))
  }

  async #computing<T>(compute: () => Promise<T>): Promise<T> {
    if (this.#released)
      throw new QuartetError('node_unavailable', 'the model is closed; the node is shutting down')
    try {
      return await compute()
    } catch (cause) {
      throw new QuartetError('node_error', `the model failed to run: ${firstLine(cause)}`, { cause })
    }
  }

  /** Frees the model's memory when its last run has ended; a second call does nothing. */
  async release(): Promise<void> {
    if (this.#released) return
    this.#released = true
    await this.#session.release()
  }
}

function firstLine(thrown: unknown): string {
  return (thrown instanceof Error ? thrown.message : String(thrown)).split('\n', 1)[0] ?? ''
}
