import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import { defaultBackbone } from '../../cli/command/settings.ts'
import { type AdminClient, adminClient } from '../../cli/edge/admin-client.ts'
import { deploymentsClient } from '../../cli/edge/deployments-client.ts'
import { type Home, homeAt, makeHome } from '../../cli/local/home.ts'
import { edgeBackbone, requireBackbone } from '../../cli/local/local-backbone.ts'
import { ensureLocalSecrets, type LocalSecrets } from '../../cli/local/secrets.ts'
import { type Service, startService } from '../../cli/local/service.ts'
import { untilAnswers } from '../../cli/local/until-answers.ts'
import type { TenantPolicyChange } from '../../shared/api/policy.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { AdapterDigest, AliasName, TenantId } from '../../shared/ids.ts'
import { commandOf, descendants, environmentOf } from './processes.ts'
import { freePorts } from './quartet-start.ts'

/** Budgets, usage, keys and deployments through the real worker and two real nodes; processes are killed on purpose. */

interface LocalNode {
  readonly id: string
  readonly port: number
  readonly service: Service
}

let home: Home
let secrets: LocalSecrets
let edgePort: number
let edgeUrl: string
let edge: Service
let nodes: readonly LocalNode[] = []
let admin: AdminClient

beforeAll(async () => {
  home = homeAt(await mkdtemp(join(tmpdir(), 'quartet-control-')))
  await makeHome(home)
  secrets = await ensureLocalSecrets(home)
  const first = await freePorts()
  const second = await freePorts()
  edgePort = first.edge
  edgeUrl = `http://127.0.0.1:${edgePort}`
  edge = await startEdge()
  nodes = await Promise.all([startNode('left', first.node), startNode('right', second.node)])
  await untilAnswers(`${edgeUrl}/health`)
  admin = adminClient({ edge: edgeUrl, adminKey: secrets.adminKey })
  await admin.putBackbone(await edgeBackbone(await requireBackbone(defaultBackbone)))
  await Promise.all(nodes.map(({ port }) => untilAnswers(`http://127.0.0.1:${port}/ready`)))
  await vi.waitFor(async () => expect(await readyNodes()).toEqual(['left', 'right']), {
    timeout: 15_000,
    interval: 250,
  })
})

afterAll(async () => {
  await Promise.all([edge, ...nodes.map(({ service }) => service)].map((service) => service.stop()))
  await rm(home.folder, { recursive: true, force: true })
})

/** `gatherMs`: how long it waits before it tells what requests used. */
function startEdge(gatherMs = 2_000): Promise<Service> {
  return startService({
    name: 'edge',
    entry: new URL('../../cli/local/worker-process.ts', import.meta.url),
    home,
    stopGraceMs: 3000,
    env: {
      QUARTET_EDGE_PORT: String(edgePort),
      QUARTET_EDGE_STATE: home.edgeState,
      QUARTET_NODES: '[]',
      QUARTET_GATHER_MS: String(gatherMs),
      QUARTET_NODE_SECRET: secrets.nodeSecret,
      QUARTET_ADMIN_KEY: secrets.adminKey,
    },
  })
}

async function startNode(id: string, port: number): Promise<LocalNode> {
  const { folder } = await requireBackbone(defaultBackbone)
  const service = await startService({
    name: id,
    entry: new URL('../../gpu-node/main.ts', import.meta.url),
    home,
    stopGraceMs: 3000,
    env: {
      QUARTET_NODE_HOST: '127.0.0.1',
      QUARTET_NODE_PORT: String(port),
      QUARTET_NODE_URL: `http://127.0.0.1:${port}`,
      QUARTET_NODE_ID: id,
      QUARTET_REGION: '',
      QUARTET_EDGE_URL: edgeUrl,
      QUARTET_NODE_SECRET: secrets.nodeSecret,
      QUARTET_BACKBONE: folder,
      QUARTET_THREADS: '1',
      QUARTET_DRAIN_SECONDS: '1',
    },
  })
  return { id, port, service }
}

const readyNodes = async () =>
  (await admin.fleet()).nodes.flatMap(({ id, state }) => (state === 'ready' ? id : []))

async function processOf({ port }: LocalNode): Promise<number> {
  for (const pid of await descendants(process.pid))
    if (
      (await commandOf(pid)).includes(fileURLToPath(new URL('../../gpu-node/main.ts', import.meta.url))) &&
      (await environmentOf(pid)).includes(`QUARTET_NODE_PORT=${port}`)
    )
      return pid
  throw new Error(`no node listens on port ${port}`)
}

interface Tenant {
  readonly id: TenantId
  readonly key: string
  readonly keyId: string
  readonly client: OpenAI
}

async function makeTenant(name: string, policy: TenantPolicyChange = {}): Promise<Tenant> {
  const id = TenantId.parse(name)
  await admin.createTenant(id, policy)
  const { key, id: keyId } = await admin.createKey(id)
  return { id, key, keyId, client: new OpenAI({ baseURL: `${edgeUrl}/v1`, apiKey: key, maxRetries: 0 }) }
}

/** Endless until `max_tokens`, so that what is generated is known. */
const story = (maxTokens: number) => ({
  model: defaultBackbone,
  messages: [{ role: 'user' as const, content: 'Tell me a story.' }],
  max_tokens: maxTokens,
  ignore_eos: true,
})

interface Counts {
  readonly requests: number
  readonly prompt: number
  readonly completion: number
}

const Line = z.object({
  event: z.literal('request'),
  requestId: z.string(),
  promptTokens: z.int(),
  completionTokens: z.int(),
})

/**
 * Counts the work in the nodes' own logs behind the given numbers of lines. A prompt counts once, however many choices
 * it has.
 */
async function nodesCount(since: readonly number[]): Promise<Counts> {
  const logs = await Promise.all(nodes.map((node) => logLines(node)))
  const runs = logs
    .flatMap((lines, at) => lines.slice(since[at]))
    .flatMap((line) => Line.safeParse(line).data ?? [])
    .filter(({ completionTokens }) => completionTokens > 0)
  const byRequest = [...Map.groupBy(runs, ({ requestId }) => requestId).values()]
  const sum = (values: number[]) => values.reduce((total, value) => total + value, 0)
  return {
    requests: byRequest.length,
    prompt: sum(byRequest.map(([run]) => run?.promptTokens ?? 0)),
    completion: sum(runs.map(({ completionTokens }) => completionTokens)),
  }
}

async function logLines({ id }: LocalNode): Promise<unknown[]> {
  const text = await readFile(join(home.logs, `${id}.log`), 'utf8')
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))
}

const lineCounts = () => Promise.all(nodes.map(async (node) => (await logLines(node)).length))

/** `GET /v1/usage` with the tenant's own key. */
async function usageOf({ key }: Tenant): Promise<Counts> {
  const answer = await fetch(`${edgeUrl}/v1/usage`, { headers: { authorization: `Bearer ${key}` } })
  const rows = z
    .object({
      data: z.array(
        z.object({ requests: z.int(), prompt_tokens: z.int(), completion_tokens: z.int(), errors: z.int() }),
      ),
    })
    .parse(await answer.json()).data
  return {
    requests: rows.reduce((sum, row) => sum + row.requests, 0),
    prompt: rows.reduce((sum, row) => sum + row.prompt_tokens, 0),
    completion: rows.reduce((sum, row) => sum + row.completion_tokens, 0),
  }
}

describe('a budget of tokens', () => {
  it('is never overspent by concurrent requests, and usage is the nodes’ own count', async () => {
    const before = await lineCounts()
    const tenant = await makeTenant('thrifty')
    const { usage } = await tenant.client.chat.completions.create(story(1))
    const prompt = usage?.prompt_tokens ?? 0
    expect(prompt).toBeGreaterThan(5)
    await expect
      .poll(() => usageOf(tenant), { timeout: 15_000, interval: 250 })
      .toMatchObject({ requests: 1 })
    // Some of those below fit, others do not.
    const budget = 1_000
    await admin.changeTenant(tenant.id, { policy: { tokensPerDay: budget } })

    const whole = async () => {
      const answer = await tenant.client.chat.completions.create(story(30))
      return answer.usage?.completion_tokens
    }
    const twice = async () => {
      const answer = await tenant.client.chat.completions.create({ ...story(20), n: 2 })
      return answer.usage?.completion_tokens
    }
    const streamed = async (leaveAfter: number) => {
      const stream = await tenant.client.chat.completions.create({ ...story(40), stream: true })
      let pieces = 0
      for await (const chunk of stream) {
        if (chunk.choices[0]?.delta.content) pieces += 1
        if (pieces >= leaveAfter) break
      }
      return pieces
    }
    const asked = Array.from(
      { length: 32 },
      (_, i) => [whole, twice, () => streamed(3), () => streamed(1_000)][i % 4],
    )
    const over: number[] = []
    let isDone = false
    const watch = (async () => {
      while (!isDone) {
        const { spent, held } = await admin.budget(tenant.id)
        if (spent.day > budget || spent.day + held.tokens > budget) over.push(spent.day + held.tokens)
        await delay(50)
      }
    })()
    const outcomes = await Promise.allSettled(asked.map((ask) => ask?.()))
    const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []))
    expect(refused.length).toBeGreaterThan(0)
    expect(refused.length).toBeLessThan(asked.length)
    for (const error of refused) {
      expect(error).toMatchObject({ status: 429, code: 'budget_exhausted' })
      expect(error.message).toMatch(/\d+/)
      // The header is absent if only running requests hold the missing tokens.
      const wait = error.headers.get('retry-after')
      if (wait !== null) expect(Number(wait)).toBeGreaterThanOrEqual(1)
      expect(error.headers.get('x-ratelimit-limit-tokens')).toBe(String(budget))
    }
    // Tokens that came back from reservations can be spent, down to less than a request needs.
    await expect
      .poll(
        () =>
          whole().then(
            () => 'served',
            (error) => String(error.code),
          ),
        { timeout: 30_000, interval: 200 },
      )
      .toBe('budget_exhausted')
    await expect
      .poll(() => usageOf(tenant), { timeout: 15_000, interval: 250 })
      .toEqual(await nodesCount(before))
    isDone = true
    await watch
    expect(over).toEqual([])
    const { spent } = await admin.budget(tenant.id)
    const { completion, prompt: paid } = await usageOf(tenant)
    expect(spent.day).toBe(completion + paid)
    expect(spent.day).toBeLessThanOrEqual(budget)
    expect(spent.day).toBeGreaterThan(budget - 3 * (prompt + 40))
  })
})

describe('an edge that is killed before it told what a stream used', () => {
  it('leaves it to the nodes, which tell it once', async () => {
    const tenant = await makeTenant('forgetful', { tokensPerMonth: 100_000 })
    await edge.stop()
    edge = await startEdge(7_000)
    await untilAnswers(`${edgeUrl}/health`)
    await vi.waitFor(() => tenant.client.models.list(), { timeout: 10_000, interval: 250 })
    await vi.waitFor(async () => expect(await readyNodes()).toEqual(['left', 'right']), {
      timeout: 15_000,
      interval: 250,
    })
    const before = await lineCounts()
    const stream = await tenant.client.chat.completions.create({ ...story(12), stream: true })
    const pieces = stream[Symbol.asyncIterator]()
    await pieces.next()
    // An edge tells nothing of a stream that has not ended.
    edge.kill()
    await expect(edge.failed).rejects.toThrow()
    await expect
      .poll(() => nodesCount(before), { timeout: 30_000, interval: 250 })
      .toMatchObject({ requests: 1 })
    const ran = await nodesCount(before)
    expect(ran.completion).toBeGreaterThan(0)
    // However long the edge takes to start, the nodes tell it nothing before it was looked at.
    const pids = await Promise.all(nodes.map(processOf))
    for (const pid of pids) process.kill(pid, 'SIGSTOP')
    try {
      edge = await startEdge()
      await untilAnswers(`${edgeUrl}/health`)
      expect(await usageOf(tenant)).toEqual({ requests: 0, prompt: 0, completion: 0 })
    } finally {
      for (const pid of pids) process.kill(pid, 'SIGCONT')
    }
    await expect.poll(() => usageOf(tenant), { timeout: 30_000, interval: 200 }).toEqual(ran)
    await expect.poll(pendingSettlements, { timeout: 20_000, interval: 250 }).toBe(0)
    expect(await usageOf(tenant)).toEqual(ran)
    expect((await admin.budget(tenant.id)).spent.month).toBe(ran.prompt + ran.completion)
  })
})

async function pendingSettlements(): Promise<number> {
  const texts = await Promise.all(
    nodes.map(async ({ port }) => (await fetch(`http://127.0.0.1:${port}/metrics`)).text()),
  )
  const of = (text: string) => Number(/^quartet_node_settlements_pending (\d+)$/m.exec(text)?.[1])
  return texts.reduce((sum, text) => sum + of(text), 0)
}

it('a revoked key stops working within five seconds, though it is in use', async () => {
  const tenant = await makeTenant('careless')
  await tenant.client.models.list()
  const [key] = (await admin.showTenant(tenant.id)).keys
  if (key === undefined) throw new Error('the tenant has no key')
  await admin.revokeKey(tenant.id, key.id)
  const revoked = performance.now()
  const status = () =>
    fetch(`${edgeUrl}/v1/models`, { headers: { authorization: `Bearer ${tenant.key}` } }).then(
      (answer) => answer.status,
    )
  await expect.poll(status, { timeout: 5_000, interval: 50 }).toBe(401)
  expect(performance.now() - revoked).toBeLessThan(5_000)
})

it('an adapter that a tenant publishes, tries as a canary and rolls back is what the next request uses', async () => {
  const tenant = await makeTenant('maker')
  const own = deploymentsClient({ edge: edgeUrl, base: '/v1', key: tenant.key })
  const alias = AliasName.parse('mine')
  const publish = async (name: string, as: AliasName | undefined) => {
    const bytes = new Uint8Array(await readFile(new URL(`../../demo/${name}.safetensors`, import.meta.url)))
    const digest = AdapterDigest.parse(await sha256Hex(bytes))
    await own.publish({ digest, bytes, alias: as })
    return digest
  }
  const usedBy = async (user: string) => {
    const { response } = await tenant.client.chat.completions
      .create({ ...story(2), model: alias, user })
      .withResponse()
    return response.headers.get('x-quartet-adapter')
  }
  const stable = await publish('tickets', alias)
  expect(await usedBy('u')).toBe(stable)
  const trial = await publish('orders', undefined)
  await own.setCanary(alias, { digest: trial, percent: 50, by: 'user' })
  const users = Array.from({ length: 12 }, (_, i) => `user-${i}`)
  const took = await Promise.all(users.map(usedBy))
  expect(new Set(took)).toEqual(new Set([stable, trial]))
  expect(await Promise.all(users.map(usedBy))).toEqual(took)
  await own.promote(alias, {})
  expect(await usedBy('u')).toBe(trial)
  await expect(own.deleteAdapter(trial)).rejects.toThrow(/mine/)
  await own.rollBack(alias, {})
  expect(await usedBy('u')).toBe(stable)
})

describe('a request that more than one node was asked for', () => {
  it('is charged once when a node stands still and wakes up later', async () => {
    const tenant = await makeTenant('patient', { tokensPerMonth: 1_000_000 })
    const told = { requests: 0, prompt: 0, completion: 0 }
    const ask = async () => {
      const { usage } = await tenant.client.chat.completions.create(story(4))
      told.requests += 1
      told.prompt += usage?.prompt_tokens ?? 0
      told.completion += usage?.completion_tokens ?? 0
    }
    // So that the edge knows what is slow.
    for (let i = 0; i < 24; i += 4) await Promise.all([ask(), ask(), ask(), ask()])
    const [, right] = nodes
    if (right === undefined) throw new Error('two nodes are needed')
    const pid = await processOf(right)
    const refusedBefore = (await logLines(right)).length
    process.kill(pid, 'SIGSTOP')
    try {
      await Promise.all([ask(), ask(), ask(), ask(), ask(), ask()])
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    // The node that woke up has read what it was asked meanwhile.
    await expect
      .poll(async () => (await logLines(right)).length, { timeout: 10_000, interval: 250 })
      .toBeGreaterThan(refusedBefore)
    await expect.poll(() => usageOf(tenant), { timeout: 20_000, interval: 250 }).toEqual(told)
    await expect.poll(pendingSettlements, { timeout: 20_000, interval: 200 }).toBe(0)
    expect(await usageOf(tenant)).toEqual(told)
  })

  it('is charged once when its node is killed, by what its client was told', async () => {
    const tenant = await makeTenant('unlucky', { tokensPerMonth: 1_000_000 })
    const long = 60
    const Usage = z.object({ prompt_tokens: z.int(), completion_tokens: z.int() })
    const told = { requests: 0, prompt: 0, completion: 0 }
    const broken: unknown[] = []
    const onRight = Promise.withResolvers<void>()
    const ask = async (maxTokens: number) => {
      const answer = await fetch(`${edgeUrl}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${tenant.key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ ...story(maxTokens), stream: true, stream_options: { include_usage: true } }),
      })
      expect(answer.status).toBe(200)
      const node = answer.headers.get('x-quartet-node')
      if (node === 'right' && maxTokens === long) onRight.resolve()
      for (const event of (await answer.text()).split('\n\n')) {
        const json = event.startsWith('data: {') ? JSON.parse(event.slice('data: '.length)) : {}
        if (json.error !== undefined) broken.push(json)
        const { data } = Usage.safeParse(json.usage)
        if (data === undefined) continue
        told.requests += 1
        told.prompt += data.prompt_tokens
        told.completion += data.completion_tokens
      }
      return node
    }
    // A node that stood still a while ago is not asked at once. One at a time, so that a slow machine is not flooded.
    let short = 1
    while ((await ask(2)) !== 'right') {
      short += 1
      await delay(200)
    }
    const streams = Array.from({ length: 6 }, () => ask(long))
    await onRight.promise
    nodes[1]?.service.kill()
    await Promise.all([...streams, ...Array.from({ length: 4 }, () => ask(long))])
    expect(told.requests).toBe(short + streams.length + 4)
    expect(broken.length).toBeGreaterThan(0)
    await expect.poll(() => usageOf(tenant), { timeout: 60_000, interval: 500 }).toEqual(told)
  })
})
