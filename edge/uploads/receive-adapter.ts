import { type AdapterDescription, checkAdapter, checkAdapterLength } from '../../shared/adapter-file.ts'
import { QuartetError } from '../../shared/errors.ts'
import { AdapterDigest } from '../../shared/ids.ts'
import { parseHeader, readHeaderLength } from '../../shared/safetensors.ts'
import { partBytes } from '../store/stored-adapter.ts'
import { arrivingChunks } from './arriving-chunks.ts'
import { FiniteCheck } from './finite-check.ts'
import type { UploadProgress } from './upload-memory.ts'

/** No adapter's header comes near; it is held in memory before anything of it is known. */
const maxHeaderBytes = 256 * 1024
const lengthBytes = 8

/** The most memory that receiving a file of `bytes` bytes takes: until its header is known, and from then on. */
export const heldBytes = {
  header: (bytes: number) => Math.min(lengthBytes + maxHeaderBytes, bytes),
  part: (bytes: number) => Math.min(partBytes, bytes),
} as const

export interface ArrivingFile {
  readonly body: ReadableStream<Uint8Array>
  /** The announced length. A body of another length is refused. */
  readonly bytes: number
  readonly progress: UploadProgress
}

export interface Receiver {
  /** Called when the header is known to be right, before there is memory for anything behind it. */
  readonly describe: (description: AdapterDescription) => Promise<void>
  /** Called with each part, in order; the last may be shorter. The buffer is used again afterwards. */
  readonly part: (bytes: Uint8Array<ArrayBuffer>) => Promise<void>
}

/**
 * Reads an adapter file as it arrives, with no more than one part of it in memory, and checks all of it: the header
 * first, then every value. Returns its SHA-256. Throws `adapter_invalid`, `request_timeout`, `client_closed_request`,
 * and whatever the receiver throws.
 */
export async function receiveAdapter(
  { body, bytes, progress }: ArrivingFile,
  receiver: Receiver,
): Promise<AdapterDigest> {
  checkAdapterLength(bytes)
  const hash = new crypto.DigestStream('SHA-256')
  // Awaited at the end; a failure before it is the one to report.
  hash.digest.catch(() => undefined)
  const writer = hash.getWriter()
  const header = new HeaderReader(bytes)
  let tensors: { readonly check: FiniteCheck; readonly part: PartBuffer } | undefined
  let arrived = 0
  try {
    for await (const chunk of arrivingChunks(body, progress)) {
      arrived += chunk.length
      if (arrived > bytes) throw lengthDiffers(bytes)
      await writer.write(chunk)
      let rest = chunk
      if (tensors === undefined) {
        const begun = header.push(chunk)
        if (begun === undefined) continue
        const parsed = parseHeader(begun.header.subarray(lengthBytes), bytes)
        await receiver.describe(checkAdapter(parsed.metadata, parsed.entries))
        const part = new PartBuffer(heldBytes.part(bytes), receiver.part)
        tensors = { check: new FiniteCheck(parsed), part }
        tensors.check.push(begun.header)
        await part.push(begun.header)
        rest = begun.rest
      }
      tensors.check.push(rest)
      await tensors.part.push(rest)
    }
    if (arrived !== bytes || tensors === undefined) throw lengthDiffers(bytes)
    await tensors.part.end()
    await writer.close()
  } catch (thrown) {
    await writer.abort(thrown).catch(() => undefined)
    throw thrown
  }
  const digest = new Uint8Array(await hash.digest)
  return AdapterDigest.parse(Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join(''))
}

const lengthDiffers = (bytes: number) =>
  new QuartetError(
    'adapter_invalid',
    `the upload ended or went on at another length than the ${bytes} bytes announced; send the file whole`,
  )

/** Collects a file's beginning until its header is complete. */
class HeaderReader {
  readonly #fileBytes: number
  readonly #begun: Uint8Array<ArrayBuffer>
  #filled = 0

  constructor(fileBytes: number) {
    this.#fileBytes = fileBytes
    this.#begun = new Uint8Array(heldBytes.header(fileBytes))
  }

  /** The whole header with the length before it, and what of the chunk came behind, once it is all there. */
  push(chunk: Uint8Array): { readonly header: Uint8Array; readonly rest: Uint8Array } | undefined {
    const before = this.#filled
    this.#begun.set(chunk.subarray(0, this.#begun.length - before), before)
    this.#filled = Math.min(this.#begun.length, before + chunk.length)
    if (this.#filled < Math.min(lengthBytes, this.#fileBytes)) return undefined
    const end = lengthBytes + this.#headerLength()
    if (this.#filled < end) return undefined
    return { header: this.#begun.subarray(0, end), rest: chunk.subarray(end - before) }
  }

  #headerLength(): number {
    const length = readHeaderLength(this.#begun.subarray(0, this.#filled), this.#fileBytes)
    if (length > maxHeaderBytes)
      throw new QuartetError(
        'adapter_invalid',
        `not a valid adapter: its header has ${length} bytes, more than ${maxHeaderBytes}`,
      )
    return length
  }
}

/** Fills parts from chunks. */
class PartBuffer {
  readonly #buffer: Uint8Array<ArrayBuffer>
  readonly #emit: Receiver['part']
  #filled = 0

  constructor(bytes: number, emit: Receiver['part']) {
    this.#buffer = new Uint8Array(bytes)
    this.#emit = emit
  }

  async push(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      const taken = chunk.subarray(at, at + this.#buffer.length - this.#filled)
      this.#buffer.set(taken, this.#filled)
      this.#filled += taken.length
      at += taken.length
      if (this.#filled === this.#buffer.length) await this.end()
    }
  }

  async end(): Promise<void> {
    if (this.#filled === 0) return
    const filled = this.#filled
    this.#filled = 0
    await this.#emit(this.#buffer.subarray(0, filled))
  }
}
