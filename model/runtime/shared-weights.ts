import { type FileHandle, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import proto from 'onnx-proto'
import { QuartetError } from '../../shared/errors.ts'
import { graphFiles } from '../graph/export.ts'
import { Crossing } from './crossing.ts'
import type { DeviceTensor } from './ort/device-memory.ts'
import { type Device, loadFailure } from './session.ts'
import type { Tensor } from './tensors.ts'

const { onnx } = proto
const { DataLocation, DataType } = onnx.TensorProto

/** Smaller ones are not worth it: each session has its own. */
const leastBytes = 64 * 1024
/** Bytes of a file that are read at once; Node reads less than 2 GiB, and the embedding of a large model has more. */
const mostRead = 64 * 1024 ** 2

const elementTypes = {
  [DataType.FLOAT]: 'float32',
  [DataType.FLOAT16]: 'float16',
  [DataType.BFLOAT16]: 'bfloat16',
  [DataType.UINT8]: 'uint8',
} as const
type WeightType = (typeof elementTypes)[keyof typeof elementTypes]

interface StoredWeight {
  readonly name: string
  readonly type: WeightType
  readonly dims: readonly number[]
  readonly offset: number
  readonly length: number
}

/** The large weights of a graph in a device's memory once, for all sessions that name them the same. */
export class SharedWeights {
  readonly tensors: Readonly<Record<string, DeviceTensor>>
  /** The memory is its session's. */
  readonly #holder: Crossing

  private constructor(tensors: Readonly<Record<string, DeviceTensor>>, holder: Crossing) {
    this.tensors = tensors
    this.#holder = holder
  }

  /**
   * Reads those of a backbone's graph. Throws `backbone_invalid` or, where the device does not start or has too little memory,
   * `node_unavailable`.
   */
  static async open(
    folder: string,
    { device, graph }: { device: Device; graph: string },
  ): Promise<SharedWeights> {
    try {
      return await SharedWeights.#read(folder, { device, graph })
    } catch (cause) {
      if (cause instanceof QuartetError && cause.code !== 'node_error') throw cause
      throw await loadFailure(cause, { folder, file: graphFiles.weights, device })
    }
  }

  static async #read(
    folder: string,
    { device, graph }: { device: Device; graph: string },
  ): Promise<SharedWeights> {
    await using failing = new AsyncDisposableStack()
    // The loaders need more memory than the weights have; it is given back with them.
    await using loading = new AsyncDisposableStack()
    const loaders = new Map<WeightType, Crossing>()
    const holder = failing.adopt(await openFor(device, 'float32'), (released) => released.release())
    const file = loading.adopt(await open(join(folder, graphFiles.weights)), (closed) => closed.close())
    const tensors: Record<string, DeviceTensor> = {}
    for (const weight of storedWeights(await readFile(join(folder, graph)))) {
      const { dims, name, type } = weight
      const known = loaders.get(type)
      const loader = known ?? loading.adopt(await openFor(device, type), (released) => released.release())
      loaders.set(type, loader)
      const flat = await readWeight(file, weight)
      const tensor = failing.use(holder.memory.allocate({ type, dims }))
      using target = tensor.as(flat.dims)
      await loader.copy({ from: { weight: flat }, to: { weight: target } })
      tensors[name] = tensor
    }
    failing.move()
    return new SharedWeights(tensors, holder)
  }

  /** Frees the memory, which no session may use any more. */
  async release(): Promise<void> {
    for (const tensor of Object.values(this.tensors)) tensor[Symbol.dispose]()
    await this.#holder.release()
  }
}

const openFor = (device: Device, type: WeightType): Promise<Crossing> =>
  Crossing.open(device, [{ name: 'weight', type, axes: 1 }])

function storedWeights(model: Uint8Array): readonly StoredWeight[] {
  const initializers = onnx.ModelProto.decode(model).graph?.initializer ?? []
  return initializers.flatMap(({ dataLocation, dataType, dims, externalData, name }) => {
    if (dataLocation !== DataLocation.EXTERNAL || !isWeightType(dataType)) return []
    const numberOf = (wanted: string) => Number(externalData?.find(({ key }) => key === wanted)?.value)
    const [offset, length] = [numberOf('offset'), numberOf('length')]
    if (!(length >= leastBytes)) return []
    return [
      { name: name ?? '', type: elementTypes[dataType], dims: (dims ?? []).map(Number), offset, length },
    ]
  })
}

const isWeightType = (type: number | null | undefined): type is keyof typeof elementTypes =>
  type !== null && type !== undefined && Object.hasOwn(elementTypes, type)

async function readWeight(file: FileHandle, { length, offset, type }: StoredWeight): Promise<Tensor> {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; ) {
    const { bytesRead } = await file.read(bytes, at, Math.min(mostRead, length - at), offset + at)
    if (bytesRead === 0)
      throw new QuartetError(
        'backbone_invalid',
        `${graphFiles.weights} ends at byte ${offset + at}, within a weight: remove the backbone folder and pull it again`,
      )
    at += bytesRead
  }
  return tensorOf(type, bytes.buffer)
}

function tensorOf(type: WeightType, bytes: ArrayBuffer): Tensor {
  if (type === 'float32') {
    const data = new Float32Array(bytes)
    return { type, data, dims: [data.length] }
  }
  if (type === 'uint8') return { type, data: new Uint8Array(bytes), dims: [bytes.byteLength] }
  const data = new Uint16Array(bytes)
  return { type, data, dims: [data.length] }
}
