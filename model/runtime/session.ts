import { join } from 'node:path'
import { InferenceSession, listSupportedBackends } from 'onnxruntime-node'
import { QuartetError } from '../../shared/errors.ts'
import { unreadableOutput } from '../graph/model.ts'
import type { Tensors } from './tensors.ts'

/** ONNX Runtime's execution providers that a node can run on. */
export const devices = ['cpu', 'webgpu', 'cuda'] as const
export type Device = (typeof devices)[number]

export interface SessionOptions {
  readonly device: Device
  /** Threads that share one operator's work; ONNX Runtime takes one per core when absent. */
  readonly threads?: number | undefined
  /** Names of nodes that stay on the CPU whatever the device. */
  readonly cpuNodes?: readonly string[]
}

/** What to do when a provider does not start. */
const remedies: Readonly<Record<Device, string>> = {
  cpu: 'remove the backbone folder and pull it again',
  webgpu:
    'it needs a GPU with a Vulkan, Metal or D3D12 driver (libvulkan.so.1 on Linux); use --device cpu without one',
  cuda: 'it needs CUDA and onnxruntime-node’s CUDA libraries, which `npm ci` leaves out: run `npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12`, or use --device cpu',
}

/** What the binding says of a sequence among its results. */
const unconverted = /^Non tensor type is temporarily not supported/

/** One graph of a backbone, loaded and ready to run. */
export class Session {
  readonly #session: InferenceSession
  #released = false

  private constructor(session: InferenceSession) {
    this.#session = session
  }

  /** Throws `backbone_invalid` or `node_unavailable` that names the remedy. */
  static async open(path: { folder: string; graph: string }, options: SessionOptions): Promise<Session> {
    const { device, threads, cpuNodes = [] } = options
    if (!listSupportedBackends().some(({ name }) => name === device))
      throw new QuartetError(
        'node_unavailable',
        `this build of ONNX Runtime has no ${device} provider; use --device cpu`,
      )
    const file = join(path.folder, path.graph)
    try {
      return new Session(
        await InferenceSession.create(file, {
          executionProviders: [
            { name: device, ...(device === 'webgpu' ? { forceCpuNodeNames: cpuNodes } : {}) },
          ],
          graphOptimizationLevel: 'all',
          // Threads wait busily while a run lasts, and leave the cores to others between runs.
          extra: { session: { force_spinning_stop: '1' } },
          // Errors come back as exceptions; its warnings are about graphs, and for us.
          logSeverityLevel: 3,
          ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
        }),
      )
    } catch (cause) {
      throw new QuartetError(
        device === 'cpu' ? 'backbone_invalid' : 'node_unavailable',
        `cannot load ${file} on ${device}: ${firstLine(cause)}; ${remedies[device]}`,
        { cause },
      )
    }
  }

  /** Runs the graph once for these outputs. */
  run(feeds: Tensors, outputs: readonly string[]): Promise<Tensors> {
    return this.#computing(() => this.#session.run(feeds, outputs))
  }

  /**
   * Runs the graph once, writing its outputs to these tensors, which may be among the feeds.
   *
   * onnxruntime-node 1.30 writes them in place, and then copies every one to a new tensor for its result: at batch 8
   * that took a third of a decode step. A first output that it cannot convert (a sequence) ends the conversion before
   * it copies anything; all outputs are written by then. Should a later release convert it, this is right but slower.
   */
  async runInto(feeds: Tensors, outputs: Tensors): Promise<void> {
    await this.#computing(async () => {
      try {
        await this.#session.run(feeds, { [unreadableOutput]: null, ...outputs })
      } catch (error) {
        if (!(error instanceof Error && unconverted.test(error.message))) throw error
      }
    })
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

  /** Frees the model's memory; a second call does nothing. */
  async release(): Promise<void> {
    if (this.#released) return
    this.#released = true
    await this.#session.release()
  }
}

function firstLine(thrown: unknown): string {
  return (thrown instanceof Error ? thrown.message : String(thrown)).split('\n', 1)[0] ?? ''
}
