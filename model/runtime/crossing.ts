import { type CrossingTensor, crossingGraph } from '../graph/crossing.ts'
import { encodeModel } from '../graph/encode.ts'
import { memoryOnDevice } from './memory-on-device.ts'
import type { DeviceMemory, RunTensors } from './ort/device-memory.ts'
import { type Device, InferenceSession } from './session.ts'

/** Copies tensors between the host's memory and a device's. */
export class Crossing {
  readonly #session: InferenceSession
  readonly #device: Device
  #memory: DeviceMemory | undefined

  private constructor(session: InferenceSession, device: Device) {
    this.#session = session
    this.#device = device
  }

  /** Throws `OrtError`, or `node_unavailable` where the device is not there. */
  static async open(device: Device, tensors: readonly CrossingTensor[]): Promise<Crossing> {
    const graph = encodeModel(crossingGraph(tensors), { weightsFile: '', opset: 18 })
    const session = await InferenceSession.fromModel(graph, { device, memoryPattern: false })
    return new Crossing(session, device)
  }

  /** Bytes that crossed. */
  get hostBytes(): number {
    return this.#session.hostBytes
  }

  /** Where the device has the tensors. Throws `node_unavailable` where it has them in the host's memory. */
  get memory(): DeviceMemory {
    this.#memory ??= memoryOnDevice(this.#session, this.#session.inputs, {
      device: this.#device,
      work: 'copies of tensors',
    })
    return this.#memory
  }

  /** Copies all tensors, by their names. */
  async copy({ from, to }: { readonly from: RunTensors; readonly to: RunTensors }): Promise<void> {
    const feeds = Object.fromEntries(Object.entries(from).map(([name, tensor]) => [`from.${name}`, tensor]))
    await this.#session.runInto(feeds, to)
  }

  release(): Promise<void> {
    return this.#session.release()
  }
}
