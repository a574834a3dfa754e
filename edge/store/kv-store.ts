import type { z } from 'zod'
import { type AdapterDigest, BackboneSlug, type TenantId } from '../../shared/ids.ts'
import type { StoreBindings } from './bindings.ts'
import { type BackboneRecord, storeKeys } from './records.ts'
import { type AdapterName, openAdapter, type Parts, publishParts } from './stored-adapter.ts'

type Content = Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>

/** KV as the edge uses it: the records of tenants, keys and backbones, tokenizers, and the adapters themselves. */
export class KvStore {
  readonly #kv: StoreBindings['STORE']

  constructor(kv: StoreBindings['STORE']) {
    this.#kv = kv
  }

  /** The record at one of the `storeKeys`; undefined when KV has none, or not yet. */
  async record<S extends z.ZodType>(key: string, schema: S): Promise<z.output<S> | undefined> {
    const value: unknown = await this.#kv.get(key, 'json')
    return value === null ? undefined : schema.parse(value)
  }

  /** Writes a record; undefined removes it. */
  putRecord(key: string, record: object | undefined): Promise<void> {
    return record === undefined ? this.delete(key) : this.#kv.put(key, JSON.stringify(record))
  }

  delete(key: string): Promise<void> {
    return this.#kv.delete(key)
  }

  async backboneSlugs(): Promise<BackboneSlug[]> {
    const { keys } = await this.#kv.list({ prefix: storeKeys.backbones })
    return keys.map(({ name }) => BackboneSlug.parse(name.slice(storeKeys.backbones.length)))
  }

  /** A compiled tokenizer; undefined when KV has not got it yet. */
  async tokenizer(sha256: BackboneRecord['tokenizer']): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const stored = await this.#kv.get(storeKeys.tokenizer(sha256), 'arrayBuffer')
    return stored === null ? undefined : new Uint8Array(stored)
  }

  putTokenizer(sha256: BackboneRecord['tokenizer'], compiled: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.#kv.put(storeKeys.tokenizer(sha256), compiled)
  }

  /** An adapter's bytes; undefined when KV has not (yet) all of it. `unreadable` is told of a part that cannot be read. */
  adapter(
    name: AdapterName,
    unreadable?: (thrown: unknown) => void,
  ): Promise<ArrayBuffer | ReadableStream<Uint8Array> | undefined> {
    return openAdapter(this.#kv, name, unreadable)
  }

  /** Writes an adapter that is one part. */
  putAdapter(tenant: TenantId, digest: AdapterDigest, content: Content): Promise<void> {
    return this.#kv.put(storeKeys.adapter(tenant, digest), content)
  }

  putAdapterPart(
    tenant: TenantId,
    { at, content, upload }: { readonly upload: string; readonly at: number; readonly content: Content },
  ): Promise<void> {
    return this.#kv.put(storeKeys.adapterPart(tenant, upload, at), content)
  }

  /** Lets an adapter that was written in parts be read. */
  publishParts(name: AdapterName, parts: Parts): Promise<void> {
    return publishParts(this.#kv, name, parts)
  }
}
