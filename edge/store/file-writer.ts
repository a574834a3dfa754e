import { QuartetError } from '../../shared/errors.ts'
import { within } from '../http/within.ts'
import type { StoreBindings } from './bindings.ts'

/** R2 takes parts of at least 5 MiB, all but the last of one size. */
const partBytes = 8 * 1024 * 1024
/** The memory that writing a file holds at most. */
export const writerBytes = partBytes
/** A bucket that has not taken a part by then does not answer. */
const storeMs = 20_000

const inTime = <T>(work: Promise<T>): Promise<T> =>
  within(storeMs, {
    work,
    late: (): never => {
      throw new QuartetError('control_unavailable', 'the storage of files does not answer; retry')
    },
  })

/** Writes an object whose length is not known before: whole when it is one part, else as a multipart upload. */
export class FileWriter {
  readonly #bucket: StoreBindings['FILES']
  readonly #key: string
  readonly #parts: R2UploadedPart[] = []
  #buffer = new Uint8Array(0)
  #filled = 0
  #upload: R2MultipartUpload | undefined

  constructor(bucket: StoreBindings['FILES'], key: string) {
    this.#bucket = bucket
    this.#key = key
  }

  async push(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      if (this.#filled === partBytes) await this.#flush()
      this.#grow(Math.min(partBytes, this.#filled + chunk.length - at))
      const taken = chunk.subarray(at, at + this.#buffer.length - this.#filled)
      this.#buffer.set(taken, this.#filled)
      this.#filled += taken.length
      at += taken.length
    }
  }

  async end(): Promise<void> {
    if (this.#upload === undefined) {
      await inTime(this.#bucket.put(this.#key, this.#buffer.subarray(0, this.#filled)))
      return
    }
    if (this.#filled > 0) await this.#flush()
    await inTime(this.#upload.complete(this.#parts))
  }

  async abandon(): Promise<void> {
    await inTime(this.#upload?.abort() ?? Promise.resolve()).catch(() => undefined)
  }

  #grow(needed: number): void {
    if (needed <= this.#buffer.length) return
    const grown = new Uint8Array(Math.min(partBytes, Math.max(needed, 2 * this.#buffer.length)))
    grown.set(this.#buffer.subarray(0, this.#filled))
    this.#buffer = grown
  }

  async #flush(): Promise<void> {
    this.#upload ??= await inTime(this.#bucket.createMultipartUpload(this.#key))
    const part = await inTime(
      this.#upload.uploadPart(this.#parts.length + 1, this.#buffer.subarray(0, this.#filled)),
    )
    this.#parts.push(part)
    this.#filled = 0
  }
}
