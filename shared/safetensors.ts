import { z } from 'zod'
import { QuartetError } from './errors.ts'
import { issuesOf } from './issues.ts'
import { RefusedJson } from './json-depth.ts'
import { parseUniqueNames } from './unique-names.ts'

/**
 * The safetensors container: u64 little-endian header length, JSON header, tensor bytes
 * (https://github.com/huggingface/safetensors, "Format"). Read strictly: the tensors cover the data section
 * exactly, in some order, without gaps or overlap.
 */

export const elementBytes = { F16: 2, F32: 4, BF16: 2, I64: 8, U8: 1 } as const
export type DType = keyof typeof elementBytes

export interface FileTensor {
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Little-endian elements in row-major order; a view into the file. */
  readonly data: Uint8Array
}

export interface SafeTensors {
  readonly metadata: Readonly<Record<string, string>>
  readonly tensors: ReadonlyMap<string, FileTensor>
}

/** Where each tensor lies in a file whose data section starts at `dataStart`. */
export interface SafeTensorsHeader {
  readonly metadata: Readonly<Record<string, string>>
  readonly entries: ReadonlyMap<
    string,
    { dtype: DType; shape: readonly number[]; start: number; end: number }
  >
  readonly dataStart: number
}

const maxHeaderBytes = 16 * 1024 * 1024
const maxNameLength = 512

const Entry = z.strictObject({
  dtype: z.string(),
  shape: z.array(z.int().min(0)).max(8),
  data_offsets: z.tuple([z.int().min(0), z.int().min(0)]),
})
const Metadata = z.record(z.string(), z.string())
const Header = z.record(z.string(), z.unknown())

function invalid(message: string): never {
  throw new QuartetError('adapter_invalid', `not a valid safetensors file: ${message}`)
}

function isDType(name: string): name is DType {
  return Object.hasOwn(elementBytes, name)
}

/** Length of the JSON header from the file's first eight bytes. Throws `adapter_invalid` when it cannot be true. */
export function readHeaderLength(start: Uint8Array, fileBytes: number): number {
  if (start.length < 8) invalid('it is shorter than its eight-byte header length')
  const length = new DataView(start.buffer, start.byteOffset, 8).getBigUint64(0, true)
  if (length > BigInt(Math.min(maxHeaderBytes, fileBytes - 8)))
    invalid(`its header claims ${length} bytes, more than the file or the limit holds`)
  return Number(length)
}

function checked<S extends z.ZodType>(schema: S, value: unknown, what: string): z.output<S> {
  const parsed = schema.safeParse(value)
  return parsed.success ? parsed.data : invalid(`${what} is malformed (${issuesOf(parsed.error)})`)
}

/** Parses the JSON header and checks that its tensors fill the `fileBytes - dataStart` bytes that follow. */
export function parseHeader(json: Uint8Array, fileBytes: number): SafeTensorsHeader {
  let raw: unknown
  try {
    raw = parseUniqueNames(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(json))
  } catch (thrown) {
    if (thrown instanceof RefusedJson) invalid(`in its header ${thrown.message}`)
    invalid('its header is not JSON')
  }
  const { __metadata__: told = {}, ...tensors } = checked(Header, raw, 'its header')
  const metadata = checked(Metadata, told, '__metadata__')
  const dataStart = 8 + json.length
  const entries = new Map<string, { dtype: DType; shape: readonly number[]; start: number; end: number }>()
  for (const [given, described] of Object.entries(tensors)) {
    const name = given.slice(0, maxNameLength)
    if (name !== given) invalid(`the tensor ${name}… has a name of ${given.length} characters`)
    // One by one: a long header may be wrong in each of them, and the first is enough to say.
    const entry = checked(Entry, described, `tensor ${name}`)
    const { dtype, shape } = entry
    if (!isDType(dtype)) invalid(`tensor ${name} has the unsupported dtype ${dtype.slice(0, 32)}`)
    const bytes = shape.reduce((product, n) => product * n, elementBytes[dtype])
    const [start, end] = entry.data_offsets
    if (end - start !== bytes)
      invalid(`tensor ${name} of shape [${shape}] needs ${bytes} bytes and has ${end - start}`)
    entries.set(name, { dtype, shape, start: dataStart + start, end: dataStart + end })
  }
  let expected = dataStart
  for (const { start, end } of [...entries.values()].sort((a, b) => a.start - b.start || a.end - b.end)) {
    if (start !== expected) invalid('its tensors overlap or leave gaps')
    expected = end
  }
  if (expected !== fileBytes) invalid(`its tensors end at byte ${expected} of ${fileBytes}`)
  return { metadata, entries, dataStart }
}

/** Parses a whole file held in memory. Tensor data are views into `file`. Throws `adapter_invalid`. */
export function parseSafeTensors(file: Uint8Array): SafeTensors {
  const length = readHeaderLength(file, file.length)
  const header = parseHeader(file.subarray(8, 8 + length), file.length)
  const tensors = new Map<string, FileTensor>()
  for (const [name, { dtype, shape, start, end }] of header.entries)
    tensors.set(name, { dtype, shape, data: file.subarray(start, end) })
  return { metadata: header.metadata, tensors }
}

/** Serializes tensors in the map's order, data aligned to eight bytes: the same content gives the same bytes. */
export function serializeSafeTensors({ metadata, tensors }: SafeTensors): Uint8Array<ArrayBuffer> {
  const header: Record<string, unknown> = { __metadata__: metadata }
  let offset = 0
  for (const [name, { dtype, shape, data }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.length] }
    offset += data.length
  }
  const text = JSON.stringify(header)
  const padded = new TextEncoder().encode(
    text.padEnd(text.length + ((8 - (new TextEncoder().encode(text).length % 8)) % 8)),
  )
  const file = new Uint8Array(8 + padded.length + offset)
  new DataView(file.buffer).setBigUint64(0, BigInt(padded.length), true)
  file.set(padded, 8)
  let at = 8 + padded.length
  for (const { data } of tensors.values()) {
    file.set(data, at)
    at += data.length
  }
  return file
}
