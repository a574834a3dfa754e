import type { Context } from 'hono'
import type { AdapterMetadata } from '../../shared/adapter-file.ts'
import { checkFit } from '../../shared/adapter-fit.ts'
import type { AdapterSummary } from '../../shared/api/deployments.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { AdapterDigest } from '../../shared/ids.ts'
import type { Upload } from '../directory/adapter-table.ts'
import { unwrap } from '../directory/outcome.ts'
import type { ControlApp } from '../request-context.ts'
import { storeKeys } from '../store/records.ts'
import { type Parts, partBytes } from '../store/stored-adapter.ts'
import { readBackbone } from '../tenants/read.ts'
import { type ArrivingFile, heldBytes, receiveAdapter } from './receive-adapter.ts'

interface Publication {
  readonly c: Context<ControlApp>
  /** The digest that the file must have, where the caller named it. */
  readonly expected: AdapterDigest | undefined
}

/**
 * Takes an adapter in for the tenant: checks it while it arrives, takes room in the tenant's storage by its announced
 * length before any of its tensors is kept, writes it, and only then lets it be seen. What is cut off in the middle is
 * given up, even when the client is gone.
 */
export function publishAdapter(file: ArrivingFile, publication: Publication): Promise<AdapterSummary> {
  const publishing = publish(file, publication)
  publication.c.executionCtx.waitUntil(publishing.catch(() => undefined))
  return publishing
}

async function publish(file: ArrivingFile, { c, expected }: Publication): Promise<AdapterSummary> {
  const { directory: directories, uploadMemory } = c.get('platform')
  using _memory = uploadMemory.take(heldBytes(file.bytes))
  const directory = directories(c.get('tenant'))
  let upload: Upload = { id: crypto.randomUUID(), digest: expected ?? null, bytes: file.bytes }
  let metadata: AdapterMetadata | undefined
  let isBegun = false
  const writing = file.bytes <= partBytes ? writeWhole(c) : writeParts(upload, c)
  try {
    const digest = await receiveAdapter(file, {
      describe: async (description) => {
        metadata = description.metadata
        await requireBackbone(metadata, c)
        isBegun = true
        const room = await directory.beginUpload(upload)
        isBegun = room.ok && room.value === null
        requireNew(unwrap(room))
      },
      part: writing.part,
    })
    checkDigest(digest, expected)
    if (metadata === undefined) throw emptyFile()
    if (upload.digest === null) {
      requireNew(unwrap(await directory.nameUpload(upload.id, digest)))
      upload = { ...upload, digest }
    }
    const parts = await writing.end(digest)
    const adapter = describe(metadata, { bytes: file.bytes, digest })
    return unwrap(await directory.completeUpload(upload.id, { adapter, parts }))
  } catch (thrown) {
    // Where the directory is away, its alarm gives the upload up.
    if (isBegun) c.executionCtx.waitUntil(directory.abandonUpload(upload).catch(() => undefined))
    if (thrown instanceof Known) return thrown.adapter
    throw thrown
  }
}

/** How a file's bytes get into KV. */
interface Writing {
  readonly part: (bytes: Uint8Array<ArrayBuffer>) => Promise<void>
  /** All parts were given, and the file has this digest. */
  readonly end: (digest: AdapterDigest) => Promise<Parts | null>
}

/** A file that is one part lies under its digest, which is known once it is all there. */
function writeWhole(c: Context<ControlApp>): Writing {
  let content = new Uint8Array(0)
  return {
    async part(bytes) {
      content = bytes
    },
    async end(digest) {
      await c.get('platform').store.put(storeKeys.adapter(c.get('tenant'), digest), content)
      return null
    },
  }
}

/** A larger one is written part by part while it arrives. */
function writeParts({ bytes: total, id: upload }: Upload, c: Context<ControlApp>): Writing {
  let count = 0
  return {
    async part(bytes) {
      await c.get('platform').store.put(storeKeys.adapterPart(c.get('tenant'), upload, count), bytes)
      count += 1
    },
    async end() {
      return { upload, count, bytes: total }
    },
  }
}

function requireNew(existing: AdapterSummary | null): void {
  if (existing !== null) throw new Known(existing)
}

/** The tenant has the adapter: no more of the file needs to be read or written. */
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
