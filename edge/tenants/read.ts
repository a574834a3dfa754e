import type { z } from 'zod'
import { QuartetError } from '../../shared/errors.ts'
import type { BackboneSlug, TenantId } from '../../shared/ids.ts'
import type { Change } from '../feed/change-feed.ts'
import type { Platform } from '../platform.ts'
import { AdaptersRecord, BackboneRecord, KeyRecord, storeKeys, TenantRecord } from '../store/records.ts'
import type { Source } from './refreshing-cache.ts'

/**
 * The read path: isolate memory first, then KV. A Durable Object is asked behind requests (what changed lately), and
 * before one only where memory and KV are known to be behind.
 */

/** The platform and the background work that reading needs. */
export interface Reader {
  readonly platform: Pick<Platform, 'caches' | 'changeFeed' | 'directory' | 'feed' | 'store'>
  /** Keeps work alive that outlasts the request. */
  readonly background: (work: Promise<unknown>) => void
}

/**
 * Makes sure that what is read of this key and its tenant counts; asks the tenant's directory when the feed is away.
 */
export async function ensureCurrent(sha256: string, reader: Reader): Promise<void> {
  const { caches, changeFeed, directory, feed } = reader.platform
  const isCurrent = await feed.renew({
    changes: (since) => changeFeed().changes(since),
    background: reader.background,
    onChanges: (changes, missed) => forget(changes, { missed, reader }),
  })
  if (isCurrent) return
  const key = (await readKey(sha256, reader)) ?? undefined
  if (key === undefined) return
  const verdict = async () => {
    const changes = await directory(key.tenant).verdict(sha256)
    caches.keys.delete(sha256)
    return changes
  }
  await feed.inquire(sha256, { background: reader.background, verdict }).catch((cause: unknown): never => {
    throw new QuartetError(
      'control_unavailable',
      'whether the API key is still valid cannot be told at the moment; retry',
      { cause },
    )
  })
}

/** Drops changed records from memory, and reads those in use again in the background. */
function forget(changes: readonly Change[], { missed, reader }: { missed: boolean; reader: Reader }): void {
  const { caches, feed } = reader.platform
  if (missed) {
    caches.keys.clear()
    caches.tenants.clear()
    caches.adapters.clear()
  }
  for (const change of changes) {
    if (change.kind === 'key') caches.keys.delete(change.id)
    else if ((caches.tenants.peek(change.id)?.version ?? Number.POSITIVE_INFINITY) < feed.version(change.id))
      reader.background(reloadTenant(change.id, reader).catch(() => undefined))
  }
}

export async function readKey(sha256: string, reader: Reader): Promise<KeyRecord | null | undefined> {
  const { caches, feed } = reader.platform
  const change = feed.key(sha256)
  return change === undefined ? caches.keys.get(sha256, keySource(sha256, reader)) : change.record
}

/** KV's record; while KV is away that of the directory, of a key whose tenant this isolate remembers. */
function keySource(sha256: string, reader: Reader): Source<KeyRecord> {
  const { caches, directory } = reader.platform
  const kv = fromStore(reader, storeKeys.key(sha256), KeyRecord)
  const load = () =>
    kv.load().catch(async (cause: unknown) => {
      const remembered = caches.keys.peek(sha256)
      if (remembered === undefined) throw cause
      const changes = await directory(remembered.tenant).verdict(sha256)
      const key = changes.find((change) => change.kind === 'key')
      return key?.record ?? undefined
    })
  return { load, background: kv.background }
}

/** Whether this isolate need not look the key up. */
export function remembersKey(sha256: string, reader: Reader): boolean {
  const { caches, feed } = reader.platform
  const change = feed.key(sha256)
  return change === undefined ? caches.keys.has(sha256) : change.record !== null
}

export async function readTenant(id: TenantId, reader: Reader): Promise<TenantRecord | undefined> {
  const { caches, feed } = reader.platform
  const source = tenantSource(id, reader)
  const record = await caches.tenants.get(id, source)
  return record === undefined || record.version >= feed.version(id) ? record : reloadTenant(id, reader)
}

/** The tenant past this isolate's memory, for what it does not remember. */
export function reloadTenant(id: TenantId, reader: Reader): Promise<TenantRecord | undefined> {
  return reader.platform.caches.tenants.reload(id, tenantSource(id, reader))
}

/** KV's record, or the directory's where KV has none, is known to be behind or does not answer. */
function tenantSource(id: TenantId, reader: Reader) {
  const { directory, feed } = reader.platform
  const kv = fromStore(reader, storeKeys.tenant(id), TenantRecord)
  const load = async () => {
    const record = await kv.load().catch(() => undefined)
    return record !== undefined && record.version >= feed.version(id) ? record : directory(id).record()
  }
  return { load, background: kv.background }
}

/** The tenant's adapters, as new as its record. */
export async function readAdapters(id: TenantId, reader: Reader): Promise<AdaptersRecord['adapters']> {
  const { caches, directory, feed } = reader.platform
  const kv = fromStore(reader, storeKeys.adapters(id), AdaptersRecord)
  const load = async () => {
    const record = await kv.load().catch(() => undefined)
    return record !== undefined && record.version >= feed.version(id)
      ? record
      : directory(id).adaptersRecord()
  }
  const record = await caches.adapters.get(id, { load, background: kv.background })
  const isBehind = record === undefined || record.version < feed.version(id)
  return (isBehind ? await caches.adapters.reload(id, { load }) : record)?.adapters ?? []
}

export function readBackbone(slug: BackboneSlug, reader: Reader): Promise<BackboneRecord | undefined> {
  const source = fromStore(reader, storeKeys.backbone(slug), BackboneRecord)
  return reader.platform.caches.backbones.get(slug, source)
}

/** The backbone of a name that a tenant gave, which most often is none's. */
export async function findBackbone(
  slug: BackboneSlug,
  { reader, tenant }: { reader: Reader; tenant: TenantId },
): Promise<BackboneRecord | undefined> {
  const { caches } = reader.platform
  if (caches.backbones.has(slug)) return readBackbone(slug, reader)
  const load = async () => ((await readBackbone(slug, reader)) === undefined ? true : undefined)
  const isAbsent = await caches.absentBackbones(tenant).get(slug, { load, background: reader.background })
  return isAbsent === true ? undefined : readBackbone(slug, reader)
}

export async function listBackbones(reader: Reader): Promise<readonly BackboneRecord[]> {
  const { caches, store } = reader.platform
  const load = async () => {
    const slugs = await store.backboneSlugs()
    const records = await Promise.all(slugs.map((slug) => readBackbone(slug, reader)))
    return records.filter((record) => record !== undefined)
  }
  return (await caches.backboneLists.get('all', { load, background: reader.background })) ?? []
}

function fromStore<S extends z.ZodType>(reader: Reader, key: string, schema: S): Source<z.output<S>> {
  const { store } = reader.platform
  return { load: () => store.record(key, schema), background: reader.background }
}
