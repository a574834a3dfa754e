import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type AdminClient, adminClient } from '../../cli/edge/admin-client.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import { sha256Hex } from '../../shared/digest.ts'
import type { ErrorBody } from '../../shared/errors.ts'
import { AdapterDigest, AliasName, BackboneSlug, TenantId } from '../../shared/ids.ts'
import { FakeBackend, fakeBackbone } from '../fakes/fake-backend.ts'
import { tinyAdapter } from '../fakes/tiny-adapter.ts'
import { byteIds, tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { fakeNode, nodeId, secret } from './node-client.ts'
import { startWorkerProcess, type WorkerProcess } from './worker-process.ts'

/** An adapter whose weights are finite and whose logits are not, from the client over the edge to a node and back. */

const adminKey = 'an-admin-key-of-some-length'
const tenant = TenantId.parse('absurd')
const prompt = 'a prompt of twenty-five b'
const rows = 2
const backbone: EdgeBackbone = {
  slug: BackboneSlug.parse('fake'),
  digest: fakeBackbone,
  tokens: { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd] },
  chat: tinyChat,
  contextLength: 4096,
  d: 4,
  layers: 2,
  vocab: 512,
}

let node: Awaited<ReturnType<typeof fakeNode>>
let edge: WorkerProcess
let admin: AdminClient

beforeAll(async () => {
  node = await fakeNode({ backend: new FakeBackend({ vocab: 512 }) })
  edge = await startWorkerProcess({
    QUARTET_NODES: JSON.stringify([{ id: nodeId, url: node.url }]),
    QUARTET_NODE_SECRET: secret,
    QUARTET_ADMIN_KEY: adminKey,
    QUARTET_GATHER_MS: '50',
    QUARTET_LOG_LEVEL: 'off',
  })
  admin = adminClient({ edge: edge.url, adminKey })
  await admin.putBackbone({ backbone, tokenizer: tinyTokenizer })
})
afterAll(async () => {
  await edge[Symbol.asyncDispose]()
  await node.close()
})

test('a request whose adapter gives no numbers is charged for its prompt, and the node is not to blame', async () => {
  const bytes = tinyAdapter({ seed: 1, rows })
  const digest = AdapterDigest.parse(await sha256Hex(bytes))
  await admin.createTenant(tenant)
  await admin.putAdapter(tenant, { digest, bytes })
  await admin.setAlias(tenant, { alias: AliasName.parse('broken'), digest })
  const { key } = await admin.createKey(tenant)
  const complete = (model: string) =>
    fetch(`${edge.url}/v1/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model, prompt, max_tokens: 1 }),
    })
  const usageOf = async (model: string) => (await admin.usage({ tenant })).find((row) => row.model === model)

  node.backend.alterLogits = (logits) => logits.fill(Number.NaN)
  const asked = 3
  for (let n = 0; n < asked; n++) {
    const refused = await complete('broken')
    const { error }: ErrorBody = JSON.parse(await refused.text())
    expect([refused.status, error.code]).toEqual([422, 'adapter_unusable'])
    expect(refused.headers.get('retry-after')).toBeNull()
  }
  await vi.waitFor(async () => expect((await usageOf('broken'))?.requests).toBe(asked), { timeout: 15_000 })
  const promptTokens = byteIds(prompt).length
  expect(await usageOf('broken')).toMatchObject({
    requests: asked,
    errors: asked,
    prompt_tokens: asked * promptTokens,
    completion_tokens: 0,
  })

  node.backend.alterLogits = () => {}
  const untuned = await complete('fake')
  expect([untuned.status, untuned.headers.get('x-quartet-node')]).toEqual([200, nodeId])
})
