import type { AdapterMetadata } from '../../shared/adapter-file.ts'
import { checkFit, checkTail, otherWeights } from '../../shared/adapter-fit.ts'
import type { AdapterSummary } from '../../shared/api/deployments.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { AdapterDigest, TenantId } from '../../shared/ids.ts'
import type { Upload } from '../directory/adapter-table.ts'
import { unwrap } from '../directory/outcome.ts'
import type { Platform } from '../platform.ts'
import { type Parts, partBytes } from '../store/stored-adapter.ts'
import { generationHeader } from '../tenants/generation-header.ts'
import { findBackbone, type Reader } from '../tenants/read.ts'
import { streamInTurns } from './in-turns.ts'
import { type ArrivingFile, heldBytes, receiveAdapter } from './receive-adapter.ts'

export interface AdapterPublication {
  readonly tenant: TenantId
  readonly reader: Reader & { readonly platform: Pick<Platform, 'uploadMemory'> }
  /** The digest that the file must have, where the caller named it. */
  readonly expected: AdapterDigest | undefined
  /** The only weights that the adapter may be for, where the caller knows them. */
  readonly backbone?: Pick<EdgeBackbone, 'slug' | 'digest'>
}

/**
 * Takes an adapter in for the tenant: checks it while it arrives, lets it in by its header (backbone, room in the
 * tenant's storage, then memory) before any of its tensors is kept, writes it, and only then lets it be seen. An upload
 * that is cut off in the middle is given up, even when the client is gone.
 */
export function publishAdapter(file: ArrivingFile, publication: AdapterPublication): Promise<AdapterSummary> {
  const publishing = publish(file, publication)
  publication.reader.background(publishing.catch(() => undefined))
  return publishing
}

async function publish(file: ArrivingFile, publication: AdapterPublication): Promise<AdapterSummary> {
  const { expected, reader, tenant } = publication
  const { uploadMemory } = reader.platform
  using memory = new DisposableStack()
  const { progress } = file
  memory.use(uploadMemory.take(tenant, heldBytes.header(file.bytes), progress))
  const directory = reader.platform.directory(tenant)
  let upload: Upload = { id: crypto.randomUUID(), digest: expected ?? null, bytes: file.bytes }
  let metadata: AdapterMetadata | undefined
  let isBegun = false
  const writing = file.bytes <= partBytes ? writeWhole(publication) : writeParts(upload, publication)
  try {
    const digest = await receiveAdapter(file, {
      describe: async (description) => {
        metadata = description.metadata
        await requireBackbone(metadata, publication)
        isBegun = true
        const room = await directory.beginUpload(upload)
        isBegun = room.ok && room.value === null
        requireNew(unwrap(room))
        memory.use(uploadMemory.take(tenant, heldBytes.part(file.bytes), progress))
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
    if (isBegun) reader.background(directory.abandonUpload(upload).catch(() => undefined))
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
function writeWhole({ reader, tenant }: AdapterPublication): Writing {
  let content = new Uint8Array(0)
  return {
    async part(bytes) {
      content = bytes
    },
    async end(digest) {
      await reader.platform.store.putAdapter(tenant, digest, streamInTurns(content))
      return null
    },
  }
}

/** A larger one is written part by part while it arrives. */
function writeParts({ bytes: total, id: upload }: Upload, { reader, tenant }: AdapterPublication): Writing {
  let count = 0
  return {
    async part(bytes) {
      await reader.platform.store.putAdapterPart(tenant, { upload, at: count, content: streamInTurns(bytes) })
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
  { backbone, kind, l_sp: rows, placement, tail }: AdapterMetadata,
  { bytes, digest }: { bytes: number; digest: AdapterDigest },
): Omit<AdapterSummary, 'createdAt'> {
  return {
    digest,
    backbone,
    kind,
    rows,
    bytes,
    ...(tail === undefined ? {} : { tail }),
    ...(placement === 'turn' ? { placement } : {}),
  }
}

function checkDigest(actual: AdapterDigest, expected: AdapterDigest | undefined): void {
  if (expected !== undefined && actual !== expected)
    throw new QuartetError('digest_mismatch', `the file's SHA-256 is ${actual}, not ${expected}`, {
      param: 'digest',
    })
}

async function requireBackbone(metadata: AdapterMetadata, publication: AdapterPublication): Promise<void> {
  const { backbone: wanted } = publication
  if (wanted !== undefined && wanted.slug !== metadata.backbone)
    throw new QuartetError(
      'backbone_mismatch',
      `the adapter is for ${metadata.backbone}; one for ${wanted.slug} is wanted`,
      { param: 'backbone' },
    )
  if (wanted !== undefined && wanted.digest !== metadata.backbone_sha256) throw otherWeights(metadata, wanted)
  const record = await findBackbone(metadata.backbone, publication)
  if (record?.backbone.digest === metadata.backbone_sha256) {
    checkFit(metadata, record.backbone)
    if (metadata.tail !== undefined)
      checkTail(metadata, await generationHeader(record, publication.reader.platform))
    return
  }
  if (record !== undefined) throw otherWeights(metadata, record.backbone)
  throw new QuartetError(
    'backbone_mismatch',
    `the adapter is for the backbone ${metadata.backbone}, which is not served here`,
    { param: 'backbone' },
  )
}
