import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type AdminClient, adminClient } from '../../cli/edge/admin-client.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import { AliasName, BackboneDigest, BackboneSlug, TenantId } from '../../shared/ids.ts'
import { makeAdapter } from '../edge/adapter.ts'
import { type OtlpReceiver, startOtlpReceiver } from '../fakes/otlp-receiver.ts'
import type { StubBehaviour } from '../fakes/stub-behaviour.ts'
import { type StubNode, startStubNode } from '../fakes/stub-node.ts'
import { byteIds, tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { postRaw, startWorkerProcess, type WorkerProcess } from './worker-process.ts'

/**
 * Clients that reset their connection, at the worker in workerd: only there does the runtime end what nobody waits
 * for. Whatever a request holds must come back, and its end must be told, as after every other end.
 */

const adminKey = 'an-admin-key-of-some-length'
const backbone: EdgeBackbone = {
  slug: BackboneSlug.parse('tiny'),
  digest: BackboneDigest.parse('ab'.repeat(32)),
  tokens: { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd] },
  chat: tinyChat,
  contextLength: 2048,
  d: 4,
  layers: 1,
  vocab: 512,
}

let receiver: OtlpReceiver
let node: StubNode
let edge: WorkerProcess
let admin: AdminClient

beforeAll(async () => {
  receiver = await startOtlpReceiver()
  node = await startStubNode()
  edge = await startWorkerProcess({
    QUARTET_NODES: JSON.stringify([{ id: 'stub', url: node.url }]),
    QUARTET_NODE_SECRET: 's'.repeat(32),
    QUARTET_ADMIN_KEY: adminKey,
    QUARTET_GATHER_MS: '50',
    QUARTET_LOG_LEVEL: 'info',
    QUARTET_OTLP_ENDPOINT: receiver.url,
  })
  admin = adminClient({ edge: edge.url, adminKey })
  await admin.putBackbone({ backbone, tokenizer: tinyTokenizer })
})

afterAll(async () => {
  await edge[Symbol.asyncDispose]()
  await node.close()
  await receiver.close()
})

const tokens = byteIds('x'.repeat(2_000))
const quick: StubBehaviour = { tokens: byteIds('done') }

const generated = () => node.calls.filter(({ kind }) => kind === 'generate')

/** When the client resets: how the node behaves until then, and how many calls of it are so far. */
const moments = {
  'before the first token': {
    behaviour: { tokens, headDelayMs: 20_000 },
    soFar: () => generated().length,
  },
  'after the first token': {
    behaviour: { tokens, delayMs: 20 },
    soFar: () => generated().filter(({ sent }) => sent >= 3).length,
  },
  // It goes on without the client, as others may wait for it.
  'during a push': {
    behaviour: { tokens, adapterMissing: true, pushDelayMs: 5_000 },
    soFar: () => generated().filter(({ over, refused }) => refused && over).length,
  },
} satisfies Record<string, { behaviour: StubBehaviour; soFar: () => number }>

const forms = {
  whole: { extra: {}, choices: 1 },
  streamed: { extra: { stream: true }, choices: 1 },
  'of two choices': { extra: { n: 2 }, choices: 2 },
}

let tenants = 0
async function newTenant() {
  tenants += 1
  const id = TenantId.parse(`tenant-${tenants}`)
  await admin.createTenant(id, { concurrentRequests: 3, tokensPerDay: 100_000 })
  const adapter = await makeAdapter({ backbone, seed: tenants })
  await admin.putAdapter(id, { digest: adapter.digest, bytes: adapter.file })
  await admin.setAlias(id, { alias: AliasName.parse('tone'), digest: adapter.digest })
  const { key } = await admin.createKey(id)
  return { id, authorization: { authorization: `Bearer ${key}` } }
}

type Tenant = Awaited<ReturnType<typeof newTenant>>

const chat = { model: 'tone', messages: [{ role: 'user', content: 'hi' }], max_tokens: 1_500 }
const path = '/v1/chat/completions'

const ask = ({ authorization }: Tenant, headers: Readonly<Record<string, string>> = {}) =>
  fetch(`${edge.url}${path}`, {
    method: 'POST',
    headers: { ...authorization, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(chat),
  })

const eventually = { timeout: 15_000 }

/** Requests of the tenant in the log. */
const logged = ({ id }: Tenant) =>
  edge.log.filter(({ event, path: of, tenant }) => event === 'request' && tenant === id && of === path)

/** The tokens that the node sent, over all calls that it took. */
const counted = () => node.calls.reduce((sum, call) => sum + (call.kind === 'generate' ? call.sent : 0), 0)

const Prompt = z.object({ prompt: z.array(z.int()) })
const promptTokens = () => Prompt.parse(generated()[0]?.body).prompt.length

async function used({ id }: Tenant) {
  const rows = await admin.usage({ tenant: id })
  return rows.reduce(
    (sum, row) => ({
      requests: sum.requests + row.requests,
      errors: sum.errors + row.errors,
      prompt: sum.prompt + row.prompt_tokens,
      completion: sum.completion + row.completion_tokens,
    }),
    { requests: 0, errors: 0, prompt: 0, completion: 0 },
  )
}

const resets = 3

describe.each(Object.entries(moments))('a client that resets %s', (moment, { behaviour, soFar }) => {
  test.each(Object.entries(forms))(
    'of an answer that is %s gives back all that its request held, three times in a row',
    async (_form, { choices, extra }) => {
      const tenant = await newTenant()
      node.behave(behaviour)
      for (let round = 1; round <= resets; round++) {
        const { reset } = await postRaw(edge.port, {
          path,
          headers: tenant.authorization,
          body: { ...chat, ...extra },
        })
        await expect.poll(soFar, eventually).toBe(round * choices)
        reset()
        await expect.poll(() => logged(tenant).length, eventually).toBe(round)
      }
      for (const line of logged(tenant)) expect(line.code).toBe('client_closed_request')
      await expect
        .poll(() => used(tenant), eventually)
        .toEqual({
          requests: resets,
          errors: 0,
          prompt: moment === 'during a push' ? 0 : resets * promptTokens(),
          completion: counted(),
        })
      await expect
        .poll(async () => (await admin.budget(tenant.id)).held, eventually)
        .toMatchObject({ tokens: 0, slots: 0 })
      const spans = () =>
        receiver
          .received()
          .spans.filter(
            ({ attributes, parentSpanId }) =>
              attributes['quartet.tenant.id'] === tenant.id &&
              attributes['url.path'] === path &&
              (parentSpanId ?? '') === '',
          )
      await expect.poll(() => spans().length, eventually).toBe(resets)
      node.behave(quick)
      expect((await ask(tenant)).status).toBe(200)
    },
  )
})

test.each([
  ['whole, before its first token', {}, 'before the first token', [200, 200]],
  ['whole, after its first token', {}, 'after the first token', [200, 200]],
  // It has begun, and what was sent of it is not kept.
  ['streamed, after its first token', { stream: true }, 'after the first token', [409, 409]],
] as const)(
  'the record of an Idempotency-Key is settled when its client resets an answer that is %s',
  async (_form, extra, moment, statuses) => {
    const tenant = await newTenant()
    const keys = ['once', 'twice', 'thrice'].map((key) => ({ 'idempotency-key': key }))
    node.behave(moments[moment].behaviour)
    const body = { ...chat, ...extra }
    for (const [at, key] of keys.entries()) {
      const headers = { ...tenant.authorization, ...key }
      const { reset } = await postRaw(edge.port, { path, headers, body })
      await expect.poll(moments[moment].soFar, eventually).toBe(at + 1)
      reset()
      await expect.poll(() => logged(tenant).length, eventually).toBe(at + 1)
    }
    node.behave(quick)
    const send = (key: Readonly<Record<string, string>>) =>
      fetch(`${edge.url}${path}`, {
        method: 'POST',
        headers: { ...tenant.authorization, ...key, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
    for (const key of keys) {
      const answers = [await send(key), await send(key)]
      expect(answers.map(({ status }) => status)).toEqual(statuses)
      const [again] = answers.slice(1)
      if (again?.status === 200) expect(again.headers.get('idempotency-replayed')).toBe('true')
      else expect(await again?.text()).toMatch(/ran and was charged/)
    }
  },
)
