import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, test } from 'vitest'
import { TenantId } from '../../shared/ids.ts'
import { TestEdge } from '../../test/edge/edge.ts'

/** As version 0.1 of this project left a tenant. */
const old = `
  CREATE TABLE tenant (id TEXT PRIMARY KEY, created_at INTEGER NOT NULL) STRICT;
  CREATE TABLE keys (
    id TEXT PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, name TEXT NOT NULL, created_at INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE adapters (
    digest TEXT PRIMARY KEY, backbone TEXT NOT NULL, kind TEXT NOT NULL, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL, created_at INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE aliases (
    alias TEXT PRIMARY KEY, digest TEXT NOT NULL REFERENCES adapters (digest), updated_at INTEGER NOT NULL
  ) STRICT;
  INSERT INTO tenant VALUES ('elder', 1000);
  INSERT INTO keys VALUES ('key_000000000001', '${'1'.repeat(64)}', 'old', 1000);
  INSERT INTO adapters VALUES ('${'a'.repeat(64)}', 'tiny', 'static', 2, 100, 1000);
  INSERT INTO aliases VALUES ('tone', '${'a'.repeat(64)}', 2000);
`

test('a tenant from before versions, policies and histories has all it had, a history and no limits', async () => {
  const id = TenantId.parse('elder')
  const stub = env.TENANTS.get(env.TENANTS.idFromName(id))
  await runInDurableObject(stub, async (_directory, { storage }) => {
    await storage.deleteAll()
    storage.sql.exec(old)
  })
  await evictDurableObject(stub)
  const edge = new TestEdge()
  expect(await (await edge.admin('GET', '/tenants/elder')).json()).toMatchObject({
    status: 'active',
    createdAt: 1000,
    policy: { requestsPerMinute: null },
    keys: [{ id: 'key_000000000001', expiresAt: null }],
    adapters: [{ bytes: 100 }],
    aliases: [{ alias: 'tone', version: 1, canary: null }],
  })
  expect(await (await edge.admin('GET', '/tenants/elder/aliases/tone/history')).json()).toMatchObject({
    data: [{ version: 1, action: 'deploy', at: 2000 }],
  })
  await expect
    .poll(async () => (await edge.admin('GET', '/tenants')).text(), { timeout: 5_000 })
    .toContain('"elder"')
})

test('a tenant from before aliases were forgotten keeps the histories of those it had deleted, oldest first in line', async () => {
  const edge = new TestEdge()
  await edge.seedBackbone()
  const tenant = await edge.seedTenant()
  for (const alias of ['first', 'second']) {
    await edge.own(tenant, 'PUT', `/aliases/${alias}`, { digest: tenant.adapter.digest })
    await edge.own(tenant, 'DELETE', `/aliases/${alias}`)
  }
  const stub = env.TENANTS.get(env.TENANTS.idFromName(tenant.id))
  const past = () =>
    runInDurableObject(stub, (_directory, { storage }) =>
      storage.sql.exec<{ alias: string }>('SELECT alias FROM past_aliases ORDER BY seq').toArray(),
    )
  const expected = [{ alias: 'first' }, { alias: 'second' }]
  expect(await past()).toEqual(expected)
  await runInDurableObject(stub, (_directory, { storage }) => {
    storage.sql.exec(
      'DROP TABLE past_aliases; ALTER TABLE keys DROP COLUMN scopes; DELETE FROM applied WHERE step >= 2',
    )
    storage.sql.exec("UPDATE deployments SET at = at + 1 WHERE alias = 'second'")
  })
  await evictDurableObject(stub)
  expect(await past()).toEqual(expected)
})
