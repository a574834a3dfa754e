import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type AdminClient, adminClient } from '../../cli/edge/admin-client.ts'
import { type LocalWorker, startWorker } from '../../cli/local/worker.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import { BackboneDigest, BackboneSlug, TenantId } from '../../shared/ids.ts'
import { makeAdapter } from '../edge/adapter.ts'
import { tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'

/** An upload that the client cuts off, at the worker in workerd: only there does the runtime end what nobody waits for. */

const adminKey = 'an-admin-key-of-some-length'
const tenant = TenantId.parse('acme')
const backbone: EdgeBackbone = {
  slug: BackboneSlug.parse('tiny'),
  digest: BackboneDigest.parse('ab'.repeat(32)),
  tokens: { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd] },
  chat: tinyChat,
  contextLength: 512,
  d: 4,
  layers: 1,
  vocab: 512,
}

let stateFolder: string
let port: number
let edge: LocalWorker
let admin: AdminClient

beforeAll(async () => {
  stateFolder = await mkdtemp(join(tmpdir(), 'quartet-cut-'))
  port = await freePort()
  const vars = { QUARTET_NODES: '[]', QUARTET_NODE_SECRET: 's'.repeat(32), QUARTET_ADMIN_KEY: adminKey }
  edge = await startWorker({ port, stateFolder, vars: { ...vars, QUARTET_LOG_LEVEL: 'warn' } })
  admin = adminClient({ edge: edge.url, adminKey })
  await admin.putBackbone({ backbone, tokenizer: tinyTokenizer })
})

afterAll(async () => {
  await edge[Symbol.asyncDispose]()
  await rm(stateFolder, { recursive: true })
})

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

const outcomes = async () => {
  const { data } = await admin.audit({ tenant, action: 'adapter' })
  return data.map(({ outcome }) => outcome)
}

test('an upload that the client resets is written down as cut off, and gives its room back', async () => {
  const { file } = await makeAdapter({ backbone, seed: 1 })
  const other = await makeAdapter({ backbone, seed: 2 })
  await admin.createTenant(tenant, { adapterBytes: file.length })
  const client = connect(port, '127.0.0.1').on('error', () => undefined)
  await once(client, 'connect')
  client.write(
    `POST /admin/v1/tenants/${tenant}/adapters HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer ${adminKey}\r\nContent-Length: ${file.length}\r\n\r\n`,
  )
  client.write(file.subarray(0, -20))
  const publish = () => admin.putAdapter(tenant, { digest: other.digest, bytes: other.file })
  await expect.poll(outcomes, { timeout: 10_000 }).toEqual(['unknown'])
  client.resetAndDestroy()
  await expect.poll(async () => (await outcomes()).at(-1), { timeout: 10_000 }).toBe('client_closed_request')
  await expect.poll(() => publish().then(() => 'taken'), { timeout: 10_000 }).toBe('taken')
})
