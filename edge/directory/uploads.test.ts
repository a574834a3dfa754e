import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { AdapterSummary } from '../../shared/api/deployments.ts'
import { AdapterDigest, TenantId } from '../../shared/ids.ts'
import { TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { storeKeys } from '../store/records.ts'
import { Parts, partBytes } from '../store/stored-adapter.ts'
import { uploadMs } from './adapter-table.ts'

const edge = new TestEdge()
const digest = AdapterDigest.parse('d'.repeat(64))
const bytes = partBytes + 1
let tenant: TestTenant
let id: TenantId

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
  id = TenantId.parse(tenant.id)
})

const directory = () => env.TENANTS.get(env.TENANTS.idFromName(id))
const adapter = AdapterSummary.parse({
  digest,
  backbone: workerBackbone.slug,
  kind: 'ipt',
  rows: 1,
  bytes,
  createdAt: 0,
})

/** Begins an upload and writes its two parts, as the edge does. */
async function bring(upload: string, claimed: AdapterDigest | null = null) {
  const begun = await directory().beginUpload({ id: upload, digest: claimed, bytes })
  expect(begun).toEqual({ ok: true, value: null })
  await writeParts(upload)
}
const writeParts = async (upload: string) => {
  await env.STORE.put(storeKeys.adapterPart(id, upload, 0), 'first')
  await env.STORE.put(storeKeys.adapterPart(id, upload, 1), 'second')
}
const complete = (upload: string) =>
  directory().completeUpload(upload, { adapter, parts: { upload, count: 2, bytes } })
const abandon = (upload: string) => directory().abandonUpload({ id: upload, digest: null, bytes })

/** The keys that the tenant has in KV besides those of its first adapter. */
const stored = async () => {
  const lists = await Promise.all(
    [`adapter:${id}:`, `adapter-part:${id}:`].map((prefix) => env.STORE.list({ prefix })),
  )
  return lists
    .flatMap(({ keys }) => keys.map(({ name }) => name))
    .filter((key) => !key.includes(tenant.adapter.digest))
}
const whole = (upload: string) => [
  storeKeys.adapter(id, digest),
  storeKeys.adapterPart(id, upload, 0),
  storeKeys.adapterPart(id, upload, 1),
]

/** Makes every upload so old that the alarm gives it up, and lets it. */
async function giveUp() {
  await runInDurableObject(directory(), (_directory, { storage }) => {
    storage.sql.exec('UPDATE uploads SET started_at = started_at - ?', uploadMs)
  })
  await runDurableObjectAlarm(directory())
}

describe('an upload in parts', () => {
  test('that was given up, and went on, is refused and leaves nothing behind', async () => {
    await bring('slow')
    await giveUp()
    expect(await stored()).toEqual([])
    await writeParts('slow')
    expect(await complete('slow')).toMatchObject({ ok: false, code: 'conflict' })
    await abandon('slow')
    expect(await stored()).toEqual([])
  })

  test('whose tenant was deleted meanwhile leaves nothing behind', async () => {
    await bring('late')
    await edge.admin('DELETE', `/tenants/${id}`)
    await writeParts('late')
    expect(await complete('late')).toMatchObject({ ok: false, code: 'not_found' })
    await abandon('late')
    expect(await stored()).toEqual([])
  })

  test('whose tenant is deleted while it completes leaves nothing behind', async () => {
    await bring('racing')
    await runInDurableObject(directory(), async (own) => {
      const completed = own.completeUpload('racing', {
        adapter,
        parts: { upload: 'racing', count: 2, bytes },
      })
      // The upload goes on as far as it can without KV's answer.
      for (let turn = 0; turn < 20; turn++) await Promise.resolve()
      expect(await own.remove()).toMatchObject({ ok: true })
      expect(await completed).toMatchObject({ ok: false, code: 'not_found' })
    })
    expect(await stored()).toEqual([])
  })

  test('that is complete stays, whoever gives it up or completes it again', async () => {
    await bring('done')
    expect(await complete('done')).toMatchObject({ ok: true })
    await abandon('done')
    expect(await complete('done')).toMatchObject({ ok: true })
    await giveUp()
    expect(await stored()).toEqual(whole('done'))
    const { metadata } = await env.STORE.getWithMetadata(storeKeys.adapter(id, digest))
    expect(Parts.parse(metadata).upload).toBe('done')
  })

  test('of a file that another upload brought first leaves that one alone', async () => {
    await Promise.all([bring('first'), bring('second')])
    expect(await complete('first')).toMatchObject({ ok: true })
    expect(await complete('second')).toMatchObject({ ok: true })
    await abandon('second')
    expect(await stored()).toEqual(whole('first'))
  })

  test('takes room of its own, whatever digest it claims', async () => {
    const room = tenant.adapter.file.length + 2 * bytes
    await edge.admin('PATCH', `/tenants/${id}`, { policy: { adapterBytes: room } })
    await Promise.all([bring('one', digest), bring('two', digest)])
    expect(await directory().beginUpload({ id: 'three', digest, bytes })).toMatchObject({
      ok: false,
      code: 'adapter_storage_exceeded',
    })
  })
})

describe('an upload that began without a digest', () => {
  const begin = (upload: string) => directory().beginUpload({ id: upload, digest: null, bytes: 100 })

  test('is named once the file is there', async () => {
    await begin('new')
    expect(await directory().nameUpload('new', digest)).toEqual({ ok: true, value: null })
  })

  test('may turn out to bring what the tenant has', async () => {
    await begin('known')
    expect(await directory().nameUpload('known', tenant.adapter.digest)).toMatchObject({
      ok: true,
      value: { digest: tenant.adapter.digest },
    })
  })

  test('and was given up is refused before anything is written', async () => {
    await begin('slow')
    await giveUp()
    expect(await directory().nameUpload('slow', digest)).toMatchObject({ ok: false, code: 'conflict' })
  })
})

test('an upload is given up in time, however often the tenant changes', async () => {
  const before = Date.now()
  await bring('idle')
  await edge.admin('PATCH', `/tenants/${id}`, { policy: { requestsPerMinute: 60 } })
  await directory().beginUpload({ id: 'other', digest: null, bytes })
  const alarm = await runInDurableObject(directory(), (_directory, { storage }) => storage.getAlarm())
  const started = await runInDurableObject(
    directory(),
    (_directory, { storage }) =>
      storage.sql.exec<{ at: number }>('SELECT MIN(started_at) AS at FROM uploads').one().at,
  )
  expect(started).toBeGreaterThanOrEqual(before)
  expect(alarm).toBe(started + uploadMs)
})
