import { invalidBackbone } from '../backbone/invalid-backbone.ts'
import type { ByteSource } from './tensor-file.ts'

/** A value of GGUF's metadata; whole numbers of 64 bits are bigint. */
type GgufValue = string | number | bigint | boolean | readonly GgufValue[]
export type GgufMetadata = Readonly<Record<string, GgufValue | undefined>>

interface GgufTensorInfo {
  readonly name: string
  /** Innermost axis first. */
  readonly shape: readonly bigint[]
  /** `ggml_type`. */
  readonly dtype: number
  /** Bytes from `tensorDataOffset`. */
  readonly offset: bigint
}

export interface GgufHeader {
  readonly metadata: GgufMetadata
  readonly tensorInfos: readonly GgufTensorInfo[]
  /** Byte offset of the tensors' data from the start of the file. */
  readonly tensorDataOffset: bigint
}

const firstBytes = 16 * 1024 * 1024
const maxHeaderBytes = 512 * 1024 * 1024
const maxEntries = 100_000
const maxArrayLength = 2_000_000
/** Values of all arrays together: each takes far more memory than the byte that it may have in the file. */
const maxValues = 8_000_000
const maxArrayDepth = 4
const maxAxes = 8
const usualAlignment = 32

/**
 * The header of a GGUF file, versions 2 and 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Strings
 * are kept to the byte, a leading byte order mark included. Throws `backbone_invalid`.
 */
export async function readGgufHeader(file: ByteSource): Promise<GgufHeader> {
  for (let size = Math.min(firstBytes, file.bytes); ; size = Math.min(2 * size, file.bytes)) {
    const bytes = await file.readBytes(0, size)
    try {
      return parse(bytes)
    } catch (error) {
      if (!(error instanceof EndOfBytes)) throw invalid(file, error)
      if (size === file.bytes) throw invalid(file, new Error('it ends within its header; download it again'))
      if (size >= maxHeaderBytes)
        throw invalid(file, new Error(`its header has more than ${maxHeaderBytes} bytes`))
    }
  }
}

function invalid({ path }: ByteSource, cause: unknown) {
  const why = cause instanceof Error ? cause.message : String(cause)
  return invalidBackbone(path, `not a readable GGUF file (${why})`, cause)
}

class EndOfBytes extends Error {}

function parse(bytes: Uint8Array): GgufHeader {
  const read = new Cursor(bytes)
  if (read.text(4) !== 'GGUF') throw new Error('it does not begin with GGUF')
  const version = read.u32()
  if (version >= 2 ** 16) throw new Error('big-endian GGUF files are not supported')
  if (version !== 2 && version !== 3) throw new Error(`GGUF version ${version} is not supported; 2 and 3 are`)
  const tensors = read.count(maxEntries, 'tensors')
  const entries = read.count(maxEntries, 'metadata entries')
  const metadata: Record<string, GgufValue> = Object.create(null)
  for (let at = 0; at < entries; at++) {
    const key = read.string()
    if (key in metadata) throw new Error(`it has the metadata key ${key} twice`)
    metadata[key] = value(read, { type: read.u32(), depth: 0, key })
  }
  const tensorInfos = Array.from({ length: tensors }, () => tensorInfo(read))
  const alignment = metadata['general.alignment'] ?? usualAlignment
  if (typeof alignment !== 'number' || !Number.isInteger(alignment) || alignment < 1)
    throw new Error(`general.alignment is ${alignment}, not a positive whole number`)
  return { metadata, tensorInfos, tensorDataOffset: BigInt(Math.ceil(read.at / alignment) * alignment) }
}

function tensorInfo(read: Cursor): GgufTensorInfo {
  const name = read.string()
  const axes = read.u32()
  if (axes > maxAxes) throw new Error(`tensor ${name} has ${axes} axes`)
  const shape = Array.from({ length: axes }, () => read.u64())
  return { name, shape, dtype: read.u32(), offset: read.u64() }
}

const arrayType = 9

function value(read: Cursor, { type, depth, key }: { type: number; depth: number; key: string }): GgufValue {
  if (type !== arrayType) {
    const scalar = scalars[type]
    if (scalar === undefined) throw new Error(`${key} has a value of the unknown type ${type}`)
    return scalar(read)
  }
  if (depth === maxArrayDepth) throw new Error(`${key} has arrays in arrays, more than ${maxArrayDepth} deep`)
  const inner = read.u32()
  const length = read.count(maxArrayLength, `values of ${key}`)
  read.announce(length)
  const values: GgufValue[] = []
  for (let at = 0; at < length; at++) values.push(value(read, { type: inner, depth: depth + 1, key }))
  return values
}

/** The keys are values of `gguf_metadata_value_type`. */
const scalars: Readonly<Record<number, (read: Cursor) => GgufValue>> = {
  0: (read) => read.number(1, (view, at) => view.getUint8(at)),
  1: (read) => read.number(1, (view, at) => view.getInt8(at)),
  2: (read) => read.number(2, (view, at) => view.getUint16(at, true)),
  3: (read) => read.number(2, (view, at) => view.getInt16(at, true)),
  4: (read) => read.u32(),
  5: (read) => read.number(4, (view, at) => view.getInt32(at, true)),
  6: (read) => read.number(4, (view, at) => view.getFloat32(at, true)),
  7: (read) => read.number(1, (view, at) => view.getUint8(at)) !== 0,
  8: (read) => read.string(),
  10: (read) => read.u64(),
  11: (read) => read.number(8, (view, at) => view.getBigInt64(at, true)),
  12: (read) => read.number(8, (view, at) => view.getFloat64(at, true)),
}

class Cursor {
  at = 0
  #values = 0
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  number<N extends number | bigint>(size: number, get: (view: DataView, at: number) => N): N {
    return get(this.#view, this.#take(size))
  }

  u32(): number {
    return this.number(4, (view, at) => view.getUint32(at, true))
  }

  u64(): bigint {
    return this.number(8, (view, at) => view.getBigUint64(at, true))
  }

  /** Counts the values of an array, before any of them is read. */
  announce(values: number): void {
    this.#values += values
    if (this.#values > maxValues)
      throw new Error(`its arrays announce more than ${maxValues} values together`)
  }

  count(most: number, of: string): number {
    const count = this.u64()
    if (count > BigInt(most)) throw new Error(`it announces ${count} ${of}; at most ${most} are read`)
    return Number(count)
  }

  string(): string {
    return this.text(this.count(maxHeaderBytes, 'bytes of one string'))
  }

  text(length: number): string {
    const from = this.#take(length)
    return this.#decoder.decode(this.#bytes.subarray(from, this.at))
  }

  #take(size: number): number {
    const from = this.at
    if (from + size > this.#bytes.length) throw new EndOfBytes()
    this.at = from + size
    return from
  }
}
