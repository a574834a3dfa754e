import type { Context } from 'hono'
import type { z } from 'zod'
import { QuartetError } from '../../shared/errors.ts'
import { BackboneSlug, type TenantId } from '../../shared/ids.ts'
import type { Change } from '../feed/change-feed.ts'
import type { App } from '../request-context.ts'
import { AdaptersRecord, BackboneRecord, KeyRecord, storeKeys, TenantRecord } from '../store/records.ts'
import type { Source } from './refreshing-cache.ts'

/**
 * The read path: isolate memory first, then KV. A Durable Object is asked behind requests (what changed lately), and
 * before one only where memory and KV are known to be behind.
 */

type Reader = Pick<Context<App>, 'get' | 'executionCtx'>

/** Makes sure that what is read of this key and its tenant counts; asks the tenant's directory when the feed is away. */
export async function ensureCurrent(sha256: string, c: Reader): Promise<void> {
  const { caches, changeFeed, directory, feed } = c.get('platform')
  const isCurrent = await feed.renew({
    changes: (since) => changeFeed().changes(since),
    background: background(c),
    onChanges: (changes, missed) => forget(changes, { missed, c }),
  })
  if (isCurrent) return
  const key = (await readKey(sha256, c)) ?? undefined
  if (key === undefined) return
  const verdict = async () => {
    const changes = await directory(key.tenant).verdict(sha256)
    caches.keys.delete(sha256)
    return changes
  }
  await feed.inquire(sha256, { background: background(c), verdict }).catch((cause: unknown): never => {
    throw new QuartetError(
      'control_unavailable',
      'whether the API key is still valid cannot be told at the moment; retry',
      { cause, retryAfterSeconds: 2 },
    )
  })
}

/** Drops what changed from memory, and reads again behind the request what was in use. */
function forget(changes: readonly Change[], { c, missed }: { missed: boolean; c: Reader }): void {
  const { caches, feed } = c.get('platform')
  if (missed) {
    caches.keys.clear()
    caches.tenants.clear()
    caches.adapters.clear()
  }
  for (const change of changes) {
    if (change.kind === 'key') caches.keys.delete(change.id)
    else if ((caches.tenants.peek(change.id)?.version ?? Number.POSITIVE_INFINITY) < feed.version(change.id))
      background(c)(reloadTenant(change.id, c).catch(() => undefined))
  }
}

export async function readKey(sha256: string, c: Reader): Promise<KeyRecord | null | undefined> {
  const { caches, feed } = c.get('platform')
  const change = feed.key(sha256)
  return change === undefined
    ? caches.keys.get(sha256, fromStore(c, storeKeys.key(sha256), KeyRecord))
    : change.record
}

/** Whether this isolate need not look the key up. */
export function remembersKey(sha256: string, c: Reader): boolean {
  const { caches, feed } = c.get('platform')
  const change = feed.key(sha256)
  return change === undefined ? caches.keys.has(sha256) : change.record !== null
}

export async function readTenant(id: TenantId, c: Reader): Promise<TenantRecord | undefined> {
  const { caches, feed } = c.get('platform')
  const source = tenantSource(id, c)
  const record = await caches.tenants.get(id, source)
  return record === undefined || record.version >= feed.version(id) ? record : reloadTenant(id, c)
}

/** The tenant past this isolate's memory, for what it does not remember. */
export function reloadTenant(id: TenantId, c: Reader): Promise<TenantRecord | undefined> {
  return c.get('platform').caches.tenants.reload(id, tenantSource(id, c))
}

/** KV's record, or the directory's where KV has none or is known to be behind. */
function tenantSource(id: TenantId, c: Reader) {
  const { directory, feed } = c.get('platform')
  const kv = fromStore(c, storeKeys.tenant(id), TenantRecord)
  const load = async () => {
    const record = await kv.load()
    return record !== undefined && record.version >= feed.version(id) ? record : directory(id).record()
  }
  return { load, background: kv.background }
}

/** The tenant's adapters, as new as its record. */
export async function readAdapters(id: TenantId, c: Reader): Promise<AdaptersRecord['adapters']> {
  const { caches, directory, feed } = c.get('platform')
  const kv = fromStore(c, storeKeys.adapters(id), AdaptersRecord)
  const load = async () => {
    const record = await kv.load()
    return record !== undefined && record.version >= feed.version(id)
      ? record
      : directory(id).adaptersRecord()
  }
  const record = await caches.adapters.get(id, { load, background: kv.background })
  const isBehind = record === undefined || record.version < feed.version(id)
  return (isBehind ? await caches.adapters.reload(id, { load }) : record)?.adapters ?? []
}

export async function readBackbone(slug: BackboneSlug, c: Reader): Promise<BackboneRecord | undefined> {
  const { background, load } = fromStore(c, storeKeys.backbone(slug), BackboneRecord)
  const source = { load: async () => (await load()) ?? null, background }
  return (await c.get('platform').caches.backbones.get(slug, source)) ?? undefined
}

export async function listBackbones(c: Reader): Promise<readonly BackboneRecord[]> {
  const { caches, store } = c.get('platform')
  const load = async () => {
    const { keys } = await store.list({ prefix: storeKeys.backbones })
    const slugs = keys.map(({ name }) => BackboneSlug.parse(name.slice(storeKeys.backbones.length)))
    const records = await Promise.all(slugs.map((slug) => readBackbone(slug, c)))
    return records.filter((record) => record !== undefined)
  }
  return (await caches.backboneLists.get('all', { load, background: background(c) })) ?? []
}

function fromStore<S extends z.ZodType>(c: Reader, key: string, schema: S): Source<z.output<S>> {
  const { store } = c.get('platform')
  const load = async () => {
    const value: unknown = await store.get(key, 'json')
    return value === null ? undefined : schema.parse(value)
  }
  return { load, background: background(c) }
}

const background = (c: Reader) => (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
