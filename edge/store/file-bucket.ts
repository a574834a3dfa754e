import type { StoreBindings } from './bindings.ts'
import { FileWriter } from './file-writer.ts'

/** The bytes of tenants' files and of the checkpoints of their jobs, under the keys of bucket-keys.ts. */
export class FileBucket {
  readonly #bucket: StoreBindings['FILES']

  constructor(bucket: StoreBindings['FILES']) {
    this.#bucket = bucket
  }

  /** Undefined when there is nothing at the key. */
  async read(key: string): Promise<ReadableStream<Uint8Array> | undefined> {
    const found = await this.#bucket.get(key)
    return found?.body
  }

  /** Some of an object's bytes; undefined when there is nothing at the key. */
  async readRange(
    key: string,
    range: { readonly offset: number; readonly length: number },
  ): Promise<Uint8Array | undefined> {
    const found = await this.#bucket.get(key, { range })
    return found === null ? undefined : new Uint8Array(await found.arrayBuffer())
  }

  /** Writes an object whose length is known. Throws when its SHA-256 is another. */
  async write(key: string, content: ReadableStream<Uint8Array>, sha256: string): Promise<void> {
    await this.#bucket.put(key, content, { sha256 })
  }

  /** Writes an object whose length is not known. */
  writer(key: string): FileWriter {
    return new FileWriter(this.#bucket, key)
  }

  async delete(keys: readonly string[]): Promise<void> {
    await this.#bucket.delete([...keys])
  }
}
