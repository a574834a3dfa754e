import type { Tensor, TensorElement } from '../tensors.ts'
import { addressFrom, type Ort } from './ort.ts'
import { OrtValue, tensorBytes } from './value.ts'

/** A tensor in a device's memory. Only runs of sessions on that device read and write it. */
export class DeviceTensor implements Disposable {
  readonly type: TensorElement
  readonly dims: readonly number[]
  readonly #block: Block
  readonly #value: OrtValue

  constructor(block: Block, { dims, type }: Pick<DeviceTensor, 'dims' | 'type'>) {
    const { address, bytes, isFreed, memoryInfo, ort } = block
    if (isFreed) throw new Error('a device’s memory was used after it was given back')
    const needed = tensorBytes({ dims, type })
    if (needed > bytes) throw new Error(`a tensor of ${needed} bytes does not fit memory of ${bytes}`)
    this.type = type
    this.dims = dims
    this.#block = block
    this.#value = OrtValue.at(ort, { address, bytes, dims, memoryInfo, type })
  }

  /** The `OrtValue*`. Throws once the memory was given back. */
  get address(): bigint {
    if (this.#block.isFreed) throw new Error('a device’s memory was used after it was given back')
    return this.#value.address
  }

  /** Throws where it was disposed of, or its memory given back. */
  check(): void {
    void this.address
  }

  /** The beginning of the same memory with other sizes; to be disposed of by itself. */
  as(dims: readonly number[]): DeviceTensor {
    return new DeviceTensor(this.#block, { dims, type: this.type })
  }

  [Symbol.dispose](): void {
    this.#value[Symbol.dispose]()
  }
}

/** Makes one of each; where one cannot be made, those before it are disposed of. */
export function allOrNone<S, T extends Disposable>(
  sources: Iterable<S>,
  make: (source: S) => T,
): readonly T[] {
  using failing = new DisposableStack()
  const made = Array.from(sources, (source) => failing.use(make(source)))
  failing.move()
  return made
}

/** Tensors of a run, in this process's memory or a device's, by the name of the graph input or output. */
export type RunTensors = Readonly<Record<string, Tensor | DeviceTensor>>

/** A stretch of a device's memory. */
interface Block {
  readonly ort: Ort
  readonly memoryInfo: bigint
  readonly address: bigint
  readonly bytes: number
  isFreed: boolean
}

/** What `DeviceMemory` is made from. */
interface Source {
  readonly ort: Ort
  /** `OrtSession*`, whose owner gives the memory back before it goes. */
  readonly session: bigint
  /** `OrtMemoryInfo*` of where the session has one of its inputs; the session's own. */
  readonly memoryInfo: bigint
  readonly isHost: boolean
}

/** Memory of the device that a session runs on, from the session's own allocator. */
export class DeviceMemory {
  readonly #source: Source
  readonly #allocator: bigint
  readonly #blocks: Block[] = []
  /** The session reads and writes it on the CPU. */
  readonly isHost: boolean
  #released = false

  constructor(source: Source) {
    const { isHost, memoryInfo, ort, session } = source
    this.#source = source
    this.isHost = isHost
    this.#allocator = addressFrom((out) => ort.api.call('CreateAllocator', session, memoryInfo, out))
  }

  /** A tensor whose content is undefined. Throws `OrtError` when the device has no such memory. */
  allocate(shape: Pick<DeviceTensor, 'dims' | 'type'>): DeviceTensor {
    if (this.#released) throw new Error('the memory was given back')
    const { memoryInfo, ort } = this.#source
    const bytes = tensorBytes(shape)
    const address = addressFrom((out) => ort.api.call('AllocatorAlloc', this.#allocator, bytes, out))
    const block = { ort, memoryInfo, address, bytes, isFreed: false }
    this.#blocks.push(block)
    return new DeviceTensor(block, shape)
  }

  /** Gives all of it back, after the last run that uses it; a second call does nothing. Its session does so at the latest. */
  release(): void {
    if (this.#released) return
    this.#released = true
    const { api } = this.#source.ort
    for (const block of this.#blocks) {
      block.isFreed = true
      api.call('AllocatorFree', this.#allocator, block.address)
    }
    api.call('ReleaseAllocator', this.#allocator)
  }
}

/** Whether an `OrtMemoryInfo*` tells of memory of the host. */
export function isHostMemory({ api }: Ort, memoryInfo: bigint): boolean {
  const type = new Int32Array(1)
  api.call('MemoryInfoGetDeviceType', memoryInfo, type)
  // OrtMemoryInfoDeviceType_CPU
  return type[0] === 0
}
