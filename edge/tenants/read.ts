import type { Context } from 'hono'
import type { z } from 'zod'
import { BackboneSlug, type TenantId } from '../../shared/ids.ts'
import type { App } from '../http/context.ts'
import { BackboneRecord, KeyRecord, storeKeys, TenantRecord } from './records.ts'
import type { Source } from './refreshing-cache.ts'

/** The read path: isolate memory first, then KV; never a Durable Object. */

type Reader = Pick<Context<App>, 'get' | 'executionCtx'>

export function readKey(sha256: string, c: Reader): Promise<KeyRecord | undefined> {
  return c.get('platform').caches.keys.get(sha256, fromStore(c, storeKeys.key(sha256), KeyRecord))
}

export function readTenant(id: TenantId, c: Reader): Promise<TenantRecord | undefined> {
  return c.get('platform').caches.tenants.get(id, fromStore(c, storeKeys.tenant(id), TenantRecord))
}

/** The tenant past this isolate's memory, for what it does not remember. */
export function reloadTenant(id: TenantId, c: Reader): Promise<TenantRecord | undefined> {
  return c.get('platform').caches.tenants.reload(id, fromStore(c, storeKeys.tenant(id), TenantRecord))
}

export function readBackbone(slug: BackboneSlug, c: Reader): Promise<BackboneRecord | undefined> {
  return c.get('platform').caches.backbones.get(slug, fromStore(c, storeKeys.backbone(slug), BackboneRecord))
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
