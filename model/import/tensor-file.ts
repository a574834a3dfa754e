import { type FileHandle, open } from 'node:fs/promises'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'
import type { BlockFormat } from './element-types.ts'

/** Where a tensor's blocks lie in a file. */
export interface StoredTensor {
  readonly type: BlockFormat
  readonly elements: number
  /** Byte offset from the start of the file. */
  readonly start: number
}

/** Bytes that are read where they are needed. */
export interface ByteSource {
  /** Named in errors. */
  readonly path: string
  readonly bytes: number
  readBytes(start: number, length: number): Promise<Uint8Array>
}

/** A file of tensors, read piece by piece: the raw bytes in memory are never more than `pieceBytes`. */
export class TensorFile implements ByteSource {
  readonly path: string
  readonly bytes: number
  readonly #handle: FileHandle

  private constructor(path: string, bytes: number, handle: FileHandle) {
    this.path = path
    this.bytes = bytes
    this.#handle = handle
  }

  static async open(path: string): Promise<TensorFile> {
    const handle = await open(path)
    try {
      const found = await handle.stat()
      if (!found.isFile()) throw invalidBackbone(path, 'it is a folder where a file of weights must be')
      return new TensorFile(path, found.size, handle)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /** Exactly `length` bytes from `start`. Throws `backbone_invalid` when the file ends before. */
  async readBytes(start: number, length: number): Promise<Uint8Array> {
    if (start + length > this.bytes) throw invalidBackbone(this.path, truncated(start + length, this.bytes))
    const bytes = new Uint8Array(length)
    await this.#fill(bytes, start)
    return bytes
  }

  /** A tensor as f32. Throws `backbone_invalid` when it does not lie in the file. */
  async readTensor({ type, elements, start }: StoredTensor): Promise<Float32Array> {
    const blocks = elements / type.elements
    if (!Number.isInteger(blocks))
      throw invalidBackbone(this.path, `a tensor of ${elements} elements is not whole blocks`)
    const end = start + blocks * type.bytes
    if (end > this.bytes) throw invalidBackbone(this.path, truncated(end, this.bytes))
    const values = new Float32Array(elements)
    const step = Math.max(1, Math.floor(pieceBytes / type.bytes))
    const piece = new Uint8Array(Math.min(step, blocks) * type.bytes)
    for (let block = 0; block < blocks; block += step) {
      const count = Math.min(step, blocks - block)
      const raw = piece.subarray(0, count * type.bytes)
      await this.#fill(raw, start + block * type.bytes)
      type.decode({
        from: new DataView(raw.buffer, raw.byteOffset, raw.byteLength),
        count,
        to: values.subarray(block * type.elements),
      })
    }
    return values
  }

  async #fill(bytes: Uint8Array, start: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesRead } = await this.#handle.read(bytes, done, bytes.length - done, start + done)
      if (bytesRead === 0) throw invalidBackbone(this.path, truncated(start + bytes.length, start + done))
      done += bytesRead
    }
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

const pieceBytes = 8 * 1024 * 1024

function truncated(needed: number, bytes: number): string {
  return `the file is truncated: a tensor ends at byte ${needed} and the file at ${bytes}; download it again`
}
