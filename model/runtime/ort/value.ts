import type { ElementArrays, Tensor, TensorElement } from '../tensors.ts'
import { koffi } from './foreign-functions.ts'
import { addressFrom, type Ort } from './ort.ts'

/** `ONNXTensorElementDataType` of each element type. */
const elementCodes = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  bfloat16: 16,
} as const satisfies Readonly<Record<TensorElement, number>>

/** Views of bytes as the elements of each type. */
const arraysOf: { readonly [T in TensorElement]: (bytes: ArrayBuffer) => ElementArrays[T] } = {
  float32: (bytes) => new Float32Array(bytes),
  float16: (bytes) => new Uint16Array(bytes),
  bfloat16: (bytes) => new Uint16Array(bytes),
  int64: (bytes) => new BigInt64Array(bytes),
  int32: (bytes) => new Int32Array(bytes),
  int8: (bytes) => new Int8Array(bytes),
  uint8: (bytes) => new Uint8Array(bytes),
  bool: (bytes) => new Uint8Array(bytes),
}

/** An `OrtValue` with one owner, who disposes of it once. */
export class OrtValue implements Disposable {
  readonly #ort: Ort
  #address: bigint | undefined
  /** Keeps the memory that the value stands for alive as long as the value. */
  readonly #pinned: NodeJS.TypedArray | undefined
  readonly #bytes: number

  private constructor(ort: Ort, address: bigint, pinned?: NodeJS.TypedArray) {
    this.#ort = ort
    this.#address = address
    this.#pinned = pinned
    this.#bytes = pinned?.byteLength ?? 0
  }

  /** A value that is the tensor's own memory: nothing is copied, and a run writes to it in place. */
  static over(ort: Ort, { type, dims, data }: Tensor): OrtValue {
    // Memory that was given away (`ArrayBuffer.transfer`) has no address any more.
    if (data.buffer instanceof ArrayBuffer && data.buffer.detached) throw givenAway()
    const shape = BigInt64Array.from(dims, BigInt)
    const address = addressFrom((out) =>
      ort.api.call(
        'CreateTensorWithDataAsOrtValue',
        ort.hostMemory,
        // An empty array has no address, and the library refuses a null one.
        data.byteLength === 0 ? nothing : data,
        data.byteLength,
        shape,
        dims.length,
        elementCodes[type],
        out,
      ),
    )
    return new OrtValue(ort, address, data)
  }

  /** A value in memory that an allocator of the library has given. It does not own the memory. */
  static at(ort: Ort, { address, bytes, dims, memoryInfo, type }: Placed): OrtValue {
    const made = addressFrom((out) =>
      ort.api.call(
        'CreateTensorWithDataAsOrtValue',
        memoryInfo,
        address,
        bytes,
        BigInt64Array.from(dims, BigInt),
        dims.length,
        elementCodes[type],
        out,
      ),
    )
    return new OrtValue(ort, made)
  }

  /** Takes over a value that the library made. */
  static owned(ort: Ort, address: bigint): OrtValue {
    return new OrtValue(ort, address)
  }

  get address(): bigint {
    if (this.#address === undefined) throw new Error('a value was used after it was freed')
    return this.#address
  }

  /** Throws where the value was freed, or its memory given away since it was made. */
  check(): void {
    if (this.#address === undefined) throw new Error('a value was used after it was freed')
    if (this.#pinned !== undefined && this.#pinned.byteLength !== this.#bytes) throw givenAway()
  }

  /** A copy of the tensor that the value holds in host memory. */
  read(): Tensor {
    const { api } = this.#ort
    const code = new Int32Array(1)
    const shape = new BigUint64Array(1)
    const rank = new BigUint64Array(1)
    api.call('GetTensorElementTypeAndShapeDataReference', this.address, code, shape, rank)
    const [at = 0n] = shape
    const dims = rank[0] === 0n ? [] : integers(at, Number(rank[0]))
    const data = addressFrom((out) => api.call('GetTensorMutableData', this.address, out))
    return tensorOf(elementTypeOf(code[0]), { dims, data })
  }

  [Symbol.dispose](): void {
    if (this.#address === undefined) return
    this.#ort.api.call('ReleaseValue', this.#address)
    this.#address = undefined
  }
}

/** A tensor at an address in the memory that an `OrtMemoryInfo*` tells of. */
interface Placed {
  readonly memoryInfo: bigint
  readonly address: bigint
  /** Bytes of the memory there; the tensor may need fewer. */
  readonly bytes: number
  readonly type: TensorElement
  readonly dims: readonly number[]
}

/** Bytes of a tensor's elements. */
export function tensorBytes({ dims, type }: Pick<Placed, 'dims' | 'type'>): number {
  return dims.reduce((product, dim) => product * dim, arraysOf[type](new ArrayBuffer(0)).BYTES_PER_ELEMENT)
}

const nothing = new Uint8Array(8)

const givenAway = () => new Error('a tensor’s memory was given away')

function integers(address: bigint, count: number): number[] {
  return Array.from(new BigInt64Array(koffi.view(address, 8 * count)), Number)
}

function elementTypeOf(code: number | undefined): TensorElement {
  for (const type of elementTypes) if (elementCodes[type] === code) return type
  throw new Error(`a tensor has elements of ONNX type ${code}, which are not read here`)
}

const isElementType = (name: string): name is TensorElement => Object.hasOwn(elementCodes, name)
const elementTypes = Object.keys(elementCodes).filter(isElementType)

function tensorOf(type: TensorElement, { dims, data }: { dims: readonly number[]; data: bigint }): Tensor {
  const count = dims.reduce((product, dim) => product * dim, 1)
  const array = <T extends TensorElement>(
    of: T,
  ): { type: T; dims: readonly number[]; data: ElementArrays[T] } => {
    const bytes = count * arraysOf[of](new ArrayBuffer(0)).BYTES_PER_ELEMENT
    // The view ends with the value; the slice is a copy that lasts.
    const copied = bytes === 0 ? new ArrayBuffer(0) : koffi.view(data, bytes).slice(0)
    return { type: of, dims, data: arraysOf[of](copied) }
  }
  switch (type) {
    case 'float32':
      return array('float32')
    case 'float16':
      return array('float16')
    case 'bfloat16':
      return array('bfloat16')
    case 'int64':
      return array('int64')
    case 'int32':
      return array('int32')
    case 'int8':
      return array('int8')
    case 'uint8':
      return array('uint8')
    case 'bool':
      return array('bool')
  }
}
