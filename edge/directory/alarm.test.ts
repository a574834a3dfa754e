import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { unreachable } from '../../test/edge/stale-store.ts'
import { uploadMs } from './adapter-table.ts'

const edge = new TestEdge()
const feed = env.FEED
let tenant: TestTenant

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
})
afterEach(async () => {
  vi.useRealTimers()
  await connectFeed(feed)
})

const directory = () => env.TENANTS.get(env.TENANTS.idFromName(tenant.id))
const beginUpload = (bytes: number) =>
  directory().beginUpload({ id: crypto.randomUUID(), digest: null, bytes })
const alarm = () => runInDurableObject(directory(), (_directory, { storage }) => storage.getAlarm())
const at = (ms: number) => vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + ms })
const setPolicy = (policy: object) => edge.admin('PATCH', `/tenants/${tenant.id}`, { policy })

/** Connects the directory to the feed to which it tells its changes from then on. */
async function connectFeed(namespace: typeof env.FEED): Promise<void> {
  await runInDurableObject(directory(), (object) => {
    // biome-ignore lint/complexity/useLiteralKeys: `env` is protected
    const bindings: { FEED: typeof env.FEED } = object['env']
    bindings.FEED = namespace
  })
}

test('an upload that begins does not put off telling what the feed did not take', async () => {
  await connectFeed(unreachable(feed))
  expect((await setPolicy({ requestsPerMinute: 1 })).status).toBe(503)
  await beginUpload(1_000)
  expect((await alarm()) ?? Number.POSITIVE_INFINITY).toBeLessThanOrEqual(Date.now() + 1_000)
})

test('an upload is given up when its time is over, however often its tenant changes meanwhile', async () => {
  await beginUpload(1_000)
  const due = Date.now() + uploadMs
  for (let change = 1; change <= 3; change++) {
    at(uploadMs / 4)
    expect((await setPolicy({ requestsPerMinute: change })).status).toBe(200)
    await beginUpload(1_000)
  }
  const set = await alarm()
  expect(set).toBeGreaterThan(due - 60_000)
  expect(set).toBeLessThanOrEqual(due)
})

test('the room of an upload that is over is there for the next one, even before the alarm', async () => {
  await setPolicy({ adapterBytes: 1_000_000 })
  expect((await beginUpload(900_000)).ok).toBe(true)
  expect(await beginUpload(900_000)).toMatchObject({ ok: false, code: 'adapter_storage_exceeded' })
  at(uploadMs + 1_000)
  expect((await beginUpload(900_000)).ok).toBe(true)
})
