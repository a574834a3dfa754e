import type { Context } from 'hono'
import type { AdapterMetadata } from '../../shared/adapter-file.ts'
import { checkFit } from '../../shared/adapter-fit.ts'
import type { AdapterSummary } from '../../shared/api/deployments.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { AdapterDigest } from '../../shared/ids.ts'
import type { Upload } from '../directory/adapter-table.ts'
import { unwrap } from '../directory/outcome.ts'
import type { ControlApp } from '../http/context.ts'
import { storeKeys } from '../store/records.ts'
import { partBytes } from '../store/stored-adapter.ts'
import { readBackbone } from '../tenants/read.ts'
import { type ArrivingFile, receiveAdapter } from './receive-adapter.ts'

/**
 * Takes an adapter in for the tenant: checks it while it arrives, takes room in the tenant's storage before a byte is
 * written, writes it, and only then lets it be seen. What is cut off in the middle is given up. `expected` is the digest
 * that the file must have, where the caller named it.
 */
export async function publishAdapter(
  file: ArrivingFile,
  { c, expected }: { c: Context<ControlApp>; expected: AdapterDigest | undefined },
): Promise<AdapterSummary> {
  return file.bytes <= partBytes ? publishWhole(file, { c, expected }) : publishInParts(file, { c, expected })
}

type Publication = { readonly c: Context<ControlApp>; readonly expected: AdapterDigest | undefined }

/** A file that fits into memory has a digest before it takes room. */
async function publishWhole(file: ArrivingFile, { c, expected }: Publication): Promise<AdapterSummary> {
  const { directory, store } = c.get('platform')
  const tenant = c.get('tenant')
  let metadata: AdapterMetadata | undefined
  let content = new Uint8Array(0)
  const digest = await receiveAdapter(file, {
    describe: async (description) => {
      metadata = description.metadata
      await requireBackbone(metadata, c)
    },
    part: async (bytes) => {
      content = bytes
    },
  })
  checkDigest(digest, expected)
  if (metadata === undefined) throw emptyFile()
  const upload: Upload = { id: crypto.randomUUID(), digest, bytes: file.bytes }
  const existing = unwrap(await directory(tenant).beginUpload(upload))
  if (existing !== null) return existing
  try {
    await store.put(storeKeys.adapter(tenant, digest), content)
    return unwrap(
      await directory(tenant).completeUpload(upload.id, {
        adapter: describe(metadata, { bytes: file.bytes, digest }),
        parts: null,
      }),
    )
  } catch (thrown) {
    c.executionCtx.waitUntil(directory(tenant).abandonUpload(upload))
    throw thrown
  }
}

/** A larger file takes room by its announced length and is written part by part; its digest is known at the end. */
async function publishInParts(file: ArrivingFile, { c, expected }: Publication): Promise<AdapterSummary> {
  const { directory, store } = c.get('platform')
  const tenant = c.get('tenant')
  const upload: Upload = { id: crypto.randomUUID(), digest: expected ?? null, bytes: file.bytes }
  let metadata: AdapterMetadata | undefined
  let count = 0
  try {
    const digest = await receiveAdapter(file, {
      describe: async (description) => {
        metadata = description.metadata
        await requireBackbone(metadata, c)
        const existing = unwrap(await directory(tenant).beginUpload(upload))
        if (existing !== null) throw new Known(existing)
      },
      part: async (bytes) => {
        await store.put(storeKeys.adapterPart(tenant, upload.id, count), bytes)
        count += 1
      },
    })
    checkDigest(digest, expected)
    if (metadata === undefined) throw emptyFile()
    const adapter = describe(metadata, { bytes: file.bytes, digest })
    const parts = { upload: upload.id, count, bytes: file.bytes }
    return unwrap(await directory(tenant).completeUpload(upload.id, { adapter, parts }))
  } catch (thrown) {
    if (thrown instanceof Known) return thrown.adapter
    c.executionCtx.waitUntil(directory(tenant).abandonUpload(upload))
    throw thrown
  }
}

/** The tenant has the adapter: the rest of the file need not be read. */
class Known extends Error {
  readonly adapter: AdapterSummary

  constructor(adapter: AdapterSummary) {
    super('the adapter is there already')
    this.adapter = adapter
  }
}

const emptyFile = () => new QuartetError('adapter_invalid', 'the file is empty')

function describe(
  { backbone, kind, l_sp: rows }: AdapterMetadata,
  { bytes, digest }: { bytes: number; digest: AdapterDigest },
): Omit<AdapterSummary, 'createdAt'> {
  return { digest, backbone, kind, rows, bytes }
}

function checkDigest(actual: AdapterDigest, expected: AdapterDigest | undefined): void {
  if (expected !== undefined && actual !== expected)
    throw new QuartetError('digest_mismatch', `the file's SHA-256 is ${actual}, not ${expected}`, {
      param: 'digest',
    })
}

async function requireBackbone(metadata: AdapterMetadata, c: Context<ControlApp>): Promise<void> {
  const record = await readBackbone(metadata.backbone, c)
  if (record?.backbone.digest === metadata.backbone_sha256) return checkFit(metadata, record.backbone)
  throw new QuartetError(
    'backbone_mismatch',
    record === undefined
      ? `the adapter is for the backbone ${metadata.backbone}, which is not served here`
      : `the adapter is for other weights of ${metadata.backbone} than are served here`,
    { param: record === undefined ? 'backbone' : 'backbone_sha256' },
  )
}
