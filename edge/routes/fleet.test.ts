import { evictDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { SignJWT } from 'jose'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { FleetResponse } from '../../shared/api/fleet.ts'
import { sha256Hex } from '../../shared/digest.ts'
import type { ErrorBody } from '../../shared/errors.ts'
import { HeartbeatResponse, maxHeartbeatBytes } from '../../shared/heartbeat.ts'
import { signHeartbeat } from '../../shared/heartbeat-token.ts'
import { newRequestId, TenantId } from '../../shared/ids.ts'
import { nodeTokenKey, signNodeToken } from '../../shared/node-token.ts'
import { residentPrefix } from '../../shared/resident-adapters.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { nodeStatus } from '../../test/edge/node-status.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

const key = nodeTokenKey(env.QUARTET_NODE_SECRET)
const backbone = { slug: workerBackbone.slug, digest: workerBackbone.digest }

let edge: TestEdge
let epoch: string
let tenant: TestTenant

beforeAll(async () => {
  await new TestEdge().seedBackbone()
  tenant = await new TestEdge().seedTenant()
  const first = await new Beat().send()
  epoch = HeartbeatResponse.parse(await first.json()).epoch
})
beforeEach(async () => {
  edge = new TestEdge({ QUARTET_NODES: '[]' })
  await stubs.behave({ tokens: byteIds('fine') })
})

let nodes = 0

/** A heartbeat on its way, with everything that can be wrong with one. */
class Beat {
  readonly #status: ReturnType<typeof nodeStatus>
  at = Date.now()
  body: string
  claimed: string | undefined
  secret = key

  constructor(more: Parameters<typeof nodeStatus>[0] = {}) {
    nodes += 1
    this.#status = nodeStatus({ node: `beat-${nodes}`, backbone, ...more })
    this.body = JSON.stringify({ ...this.#status, settlements: [] })
  }

  get node() {
    return this.#status.node
  }

  async token(): Promise<string> {
    return signHeartbeat(this.secret, {
      edge: 'http://edge',
      node: this.#status.node,
      epoch: epoch ?? '',
      body: await sha256Hex(this.claimed ?? this.body),
      now: new Date(this.at),
    })
  }

  async send(token?: string): Promise<Response> {
    return new TestEdge().fetch('/fleet/v1/heartbeat', {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token ?? (await this.token())}`,
        'content-type': 'application/json',
      },
      body: this.body,
    })
  }
}

const refusal = async (answer: Promise<Response>) => {
  const response = await answer
  const { error } = await response.json<ErrorBody>()
  return `${response.status} ${error.code}: ${error.message}`
}
const fleet = async () => FleetResponse.parse(await (await edge.admin('GET', '/fleet')).json())

describe('a heartbeat', () => {
  test('makes a node known to the fleet', async () => {
    const beat = new Beat({ running: 3, region: 'eu-west' })
    const answer = HeartbeatResponse.parse(await (await beat.send()).json())
    expect(answer).toMatchObject({ accepted: true, acknowledged: [] })
    expect(Math.abs(answer.time - Date.now())).toBeLessThan(5_000)
    const known = (await fleet()).nodes.find(({ id }) => id === beat.node)
    expect(known).toMatchObject({ state: 'ready', report: { running: 3, region: 'eu-west' } })
  })

  test('of another epoch is not taken, and the answer says the epoch', async () => {
    const beat = new Beat()
    const token = await signHeartbeat(key, {
      edge: 'http://edge',
      node: beat.node,
      epoch: 'long ago',
      body: await sha256Hex(beat.body),
    })
    expect(await (await beat.send(token)).json()).toMatchObject({ accepted: false, epoch })
    expect((await fleet()).nodes.map(({ id }) => id)).not.toContain(beat.node)
  })

  test('that is replayed is refused', async () => {
    const beat = new Beat()
    const token = await beat.token()
    expect((await beat.send(token)).status).toBe(200)
    expect(await refusal(beat.send(token))).toMatch(/^409 conflict: .*sent before/)
  })

  test('of an older process is refused with the remedy', async () => {
    const old = new Beat({ sequence: 9 })
    await old.send()
    await new Beat({ node: old.node, process: 1 }).send()
    const late = new Beat({ node: old.node, sequence: 10 })
    expect(await refusal(late.send())).toMatch(
      /^409 conflict: another process runs as node .*QUARTET_NODE_ID/,
    )
  })

  test.each([
    [-4, 'behind'],
    [4, 'ahead'],
  ])('of a node whose clock is %s minutes off (%s) is taken', async (minutes) => {
    const beat = new Beat()
    beat.at += minutes * 60_000
    expect((await beat.send()).status).toBe(200)
    const known = (await fleet()).nodes.find(({ id }) => id === beat.node)
    expect(known?.state).toBe('ready')
  })

  test.each([
    [-10, /expired; set the node's clock/],
    [10, /from the future; set the node's clock/],
  ])('signed %s minutes away is refused with the remedy', async (minutes, message) => {
    const beat = new Beat()
    beat.at += minutes * 60_000
    expect(await refusal(beat.send())).toMatch(message)
  })

  test('that is forged, changed or another’s is refused', async () => {
    expect(await refusal(new Beat().send('nonsense'))).toMatch(/^401 invalid_node_token/)
    const forged = new Beat()
    forged.secret = nodeTokenKey('another secret of at least 32 bytes')
    expect(await refusal(forged.send())).toMatch(/^401 .*QUARTET_NODE_SECRET/)
    const changed = new Beat()
    changed.claimed = 'another body'
    expect(await refusal(changed.send())).toMatch(/^401 .*another body/)
    const borrowed = new Beat()
    const token = await signHeartbeat(key, {
      edge: 'http://edge',
      node: new Beat().node,
      epoch,
      body: await sha256Hex(borrowed.body),
    })
    expect(await refusal(borrowed.send(token))).toMatch(/^401 .*another node/)
    const elsewhere = await signHeartbeat(key, {
      edge: 'https://quartet.example.com',
      node: borrowed.node,
      epoch,
      body: await sha256Hex(borrowed.body),
    })
    expect(await refusal(borrowed.send(elsewhere))).toMatch(/^401 .*another edge than edge; a proxy/)
    const unsigned = await new SignJWT({ epoch }).setProtectedHeader({ alg: 'HS256' }).sign(key)
    expect(await refusal(new Beat().send(unsigned))).toMatch(/^401/)
    const request = newRequestId()
    const nodeToken = await signNodeToken(key, {
      node: borrowed.node,
      tenant: TenantId.parse('t'),
      act: 'info',
      rid: request,
      adapter: null,
      body: await sha256Hex(borrowed.body),
    })
    expect(await refusal(borrowed.send(nodeToken))).toMatch(/^401/)
  })

  test('without a token, too large, or garbage is refused and names what is wrong', async () => {
    const bare = await edge.fetch('/fleet/v1/heartbeat', { method: 'POST', body: '{}' })
    expect(bare.status).toBe(401)
    const huge = new Beat()
    huge.body = 'x'.repeat(maxHeartbeatBytes + 1)
    expect(await refusal(huge.send())).toMatch(/^413 body_too_large/)
    const garbage = new Beat()
    garbage.body = '<html>'
    expect(await refusal(garbage.send())).toMatch(/^400 invalid_json/)
    const wrong = new Beat()
    wrong.body = wrong.body.replace('"maxBatch":16', '"maxBatch":-1')
    expect(await refusal(wrong.send())).toMatch(/^400 invalid_request: maxBatch/)
    const resident = new Beat()
    resident.body = resident.body.replace('"resident":""', '"resident":"short"')
    expect(await refusal(resident.send())).toMatch(/^400 invalid_request: resident/)
  })
})

describe('requests', () => {
  const join = (at: number, more: Parameters<typeof nodeStatus>[0] = {}) => {
    const stub = stubs.addresses()[at]
    if (stub === undefined) throw new Error('two stub nodes are needed')
    const beat = new Beat({ url: stub.url, ...more })
    return beat.send().then(() => ({ id: beat.node, url: stub.url }))
  }
  const nodeOf = (response: Response) => response.headers.get('x-quartet-node')

  test('go to nodes that registered, and to one that holds the adapter first', async () => {
    const sequence = 1
    const resident = residentPrefix(tenant.adapter.key)
    const node = await join(0, { resident, sequence })
    const other = await join(1)
    const response = await edge.chat(tenant)
    expect(response.status).toBe(200)
    expect([node.id, other.id]).toContain(nodeOf(response))
    expect(nodeOf(response)).toBe(node.id)
  })

  test('go to no node that drains', async () => {
    const draining = await join(0, { draining: true })
    const ready = await join(1)
    for (let i = 0; i < 10; i++) {
      const answered = nodeOf(await edge.chat(tenant, { model: 'tiny' }))
      expect(answered).not.toBe(draining.id)
    }
    expect(ready.id).toBeTruthy()
  })

  test('survive a node that lies about what it holds', async () => {
    await stubs.behave({ tokens: byteIds('fine'), adapterMissing: true })
    await join(0, { resident: residentPrefix(tenant.adapter.key) })
    const response = await edge.chat(tenant)
    expect(response.status).toBe(200)
    expect((await stubs.calls()).map(({ kind }) => kind)).toEqual(['generate', 'put-adapter', 'generate'])
  })

  test('go to a node that can hold them, the adapter’s rows counted', async () => {
    // 1 of the prompt, 2 of the adapter and 40 to generate.
    const rows = 43
    const resident = residentPrefix(tenant.adapter.key)
    const small = await join(0, { resident, contextLength: rows - 1 })
    const large = await join(1, { resident, contextLength: rows })
    const ask = { model: 'tone', prompt: 'hello', max_tokens: 40 }
    const answered = await edge.complete(tenant, ask)
    expect(answered.status).toBe(200)
    const { usage } = z.object({ usage: z.object({ prompt_tokens: z.int() }) }).parse(await answered.json())
    expect(usage.prompt_tokens + 2 + ask.max_tokens).toBe(rows)
    expect(nodeOf(answered)).not.toBe(small.id)
    expect(large.id).toBeTruthy()
  })

  test('go on with the last snapshot while the registry is down, and say so', async () => {
    const broken = new Proxy(env.REGISTRY, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name)
        if (name !== 'get') return typeof value === 'function' ? value.bind(target) : value
        return () => ({
          snapshot: () => Promise.reject(new Error('down')),
          fleet: () => Promise.reject(new Error('down')),
        })
      },
    })
    edge = new TestEdge({ REGISTRY: broken })
    const response = await edge.chat(tenant)
    expect(response.status).toBe(200)
    expect(response.headers.get('x-quartet-fleet')).toMatch(/^stale/)
    const seen = await edge.admin('GET', '/fleet')
    expect(seen.status).toBe(503)
  })
})

test('a registry that restarts forgets no node, and takes nothing that was signed before', async () => {
  const beat = new Beat({ running: 5 })
  await beat.send()
  const before = new Beat({ node: beat.node, sequence: 1 })
  const token = await before.token()
  await evictDurableObject(env.REGISTRY.get(env.REGISTRY.idFromName('fleet')))
  const remembered = (await fleet()).nodes.find(({ id }) => id === beat.node)
  expect(remembered).toMatchObject({ state: 'ready', report: null })
  const answer = HeartbeatResponse.parse(await (await before.send(token)).json())
  expect(answer.accepted).toBe(false)
  expect(answer.epoch).not.toBe(epoch)
  epoch = answer.epoch
  expect(await (await before.send()).json()).toMatchObject({ accepted: true })
})

test('the fleet is for operators only, and lists fixed nodes that never registered', async () => {
  expect((await edge.fetch('/admin/v1/fleet')).status).toBe(401)
  const listed = new TestEdge({ QUARTET_NODES: '[{"id":"quiet","url":"http://10.9.9.9"}]' })
  const { nodes: all } = FleetResponse.parse(await (await listed.admin('GET', '/fleet')).json())
  expect(all.find(({ id }) => id === 'quiet')).toMatchObject({ state: 'unregistered', report: null })
})

describe('a heartbeat whose names two readers could read in two ways is refused', () => {
  const node = '"node":"beat-of-two-names"'
  test.each([
    [
      'a name that stands twice',
      (body: string) => body.replace('{', `{${node},`),
      /"node" stands there twice/,
    ],
    [
      'the same name, spelled otherwise',
      (body: string) => body.replace('{', '{"n\\u006fde":"beat-of-two-names",'),
      /"node" stands there twice/,
    ],
    [
      'a name that stands twice further in',
      (body: string) => body.replace('"cacheRows":{', '"cacheRows":{"free":1,'),
      /"free" stands there twice/,
    ],
    ['__proto__', (body: string) => body.replace('{', '{"__proto__":{},'), /"__proto__" is not allowed/],
    [
      '__proto__ further in',
      (body: string) => body.replace('"backbone":{', '"backbone":{"__proto__":{},'),
      /"__proto__" is not allowed/,
    ],
  ])('%s', async (_, change, message) => {
    const beat = new Beat()
    const plain = beat.body
    beat.body = change(plain)
    expect(beat.body).not.toBe(plain)
    const told = await refusal(beat.send())
    expect(told).toMatch(/^400 invalid_json/)
    expect(told).toMatch(message)
    expect((await fleet()).nodes.map(({ id }) => id)).not.toContain(beat.node)
  })
})
