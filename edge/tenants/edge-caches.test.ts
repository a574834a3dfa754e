import { env } from 'cloudflare:workers'
import { expect, test, vi } from 'vitest'
import { BackboneSlug, TenantId } from '../../shared/ids.ts'
import { platformOf } from '../platform.ts'
import { TenantRecord } from '../store/records.ts'
import { EdgeCaches } from './edge-caches.ts'
import { findBackbone } from './read.ts'

const slug = (at: number) => BackboneSlug.parse(`no-backbone-${at}`)

test('a tenant that asks for names at random drives nothing of another tenant out', async () => {
  const asked = vi.fn()
  const store = new Proxy(env.STORE, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property)
      if (typeof value !== 'function') return value
      return (...values: unknown[]) => {
        asked()
        return Reflect.apply(value, target, values)
      }
    },
  })
  const platform = platformOf({ ...env, STORE: store })
  const background = () => undefined
  const find = (tenant: string, at: number) =>
    findBackbone(slug(at), { tenant: TenantId.parse(tenant), reader: { platform, background } })
  await find('quiet', 0)
  for (let at = 0; at < 150; at++) await find('loud', at)
  asked.mockClear()
  await find('loud', 149)
  await find('quiet', 0)
  expect(asked).not.toHaveBeenCalled()
  await find('loud', 0)
  expect(asked).toHaveBeenCalledTimes(1)
})

test('the forms of tenants’ answers take room of the memory for tenants, so that many large ones never fill the isolate', async () => {
  const { tenants } = new EdgeCaches()
  const form = { type: 'json_schema', json_schema: { name: 'a', schema: { const: 'x'.repeat(16_000) } } }
  const record = (id: string) =>
    TenantRecord.parse({
      ...{ id, status: 'active', version: 1, createdAt: 0, policy: {}, aliases: {} },
      forms: Object.fromEntries(Array.from({ length: 64 }, (_, at) => [String(at), form])),
    })
  const ids = Array.from({ length: 100 }, (_, at) => `tenant-${at}`)
  for (const id of ids) await tenants.reload(id, { load: async () => record(id) })
  const kept = ids.filter((id) => tenants.has(id))
  // 12 MB of forms and no more; those read last.
  expect(kept).toEqual(ids.slice(-11))
})
