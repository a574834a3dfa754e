import { z } from 'zod'
import type { AdapterDigest, TenantId } from '../../shared/ids.ts'
import type { StoreBindings } from './bindings.ts'
import { storeKeys } from './records.ts'

/**
 * The form of adapters in KV. One that fits into a part is the value itself. A larger one has an empty value, whose
 * metadata say where the parts are. It is written after them, so an adapter that can be read is whole.
 */

/**
 * A part of an adapter, in bytes. A KV value takes 25 MiB; smaller parts let more uploads into the memory of an isolate
 * at once (uploads/upload-memory.ts).
 */
export const partBytes = 8 * 1024 * 1024

export const Parts = z.object({
  /** The upload that wrote the parts. */
  upload: z.string(),
  count: z.int().min(1),
  bytes: z.int().min(1),
})
export type Parts = z.infer<typeof Parts>

/** An adapter of a tenant. */
export interface AdapterName {
  readonly tenant: TenantId
  readonly digest: AdapterDigest
}

/** An adapter's bytes; undefined when KV has not (yet) all of it. A part that cannot be read ends the stream and is told. */
export async function openAdapter(
  store: StoreBindings['STORE'],
  { digest, tenant }: AdapterName,
  unreadable: (thrown: unknown) => void = () => undefined,
): Promise<ArrayBuffer | ReadableStream<Uint8Array> | undefined> {
  const { metadata, value } = await store.getWithMetadata(storeKeys.adapter(tenant, digest), 'arrayBuffer')
  if (value === null) return undefined
  if (metadata === null) return value
  const { bytes, count, upload } = Parts.parse(metadata)
  const part = (at: number) => store.get(storeKeys.adapterPart(tenant, upload, at), 'stream')
  const first = await part(0)
  if (first === null) return undefined
  const { readable, writable } = new FixedLengthStream(bytes)
  const rest = async (at: number) => {
    const stream = await part(at)
    if (stream === null) throw new Error(`part ${at} of the adapter is not in KV yet`)
    return stream
  }
  const told = (at: number) =>
    rest(at).catch((thrown: unknown): never => {
      unreadable(thrown)
      throw thrown
    })
  joinParts({ first, rest: told, count, writable }).catch((thrown: unknown) =>
    writable.abort(thrown).catch(() => undefined),
  )
  return readable
}

/** Writes the parts one after the other, each read when the one before has left. */
async function joinParts({
  count,
  first,
  rest,
  writable,
}: {
  first: ReadableStream<Uint8Array>
  rest: (at: number) => Promise<ReadableStream<Uint8Array>>
  count: number
  writable: WritableStream<Uint8Array>
}): Promise<void> {
  await first.pipeTo(writable, { preventClose: true })
  for (let at = 1; at < count; at++) {
    const part = await rest(at)
    await part.pipeTo(writable, { preventClose: true })
  }
  await writable.close()
}

/** Lets what was uploaded in parts be read. */
export async function publishParts(
  store: StoreBindings['STORE'],
  name: AdapterName,
  parts: Parts,
): Promise<void> {
  await store.put(storeKeys.adapter(name.tenant, name.digest), '', { metadata: parts })
}
