import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ChatCompletion } from '../../shared/api/chat-completions.ts'
import { AliasSummary, History } from '../../shared/api/deployments.ts'
import { ErrorBody } from '../../shared/api/error.ts'
import {
  maxShadowAnswers,
  maxShadowBytes,
  type ShadowAnswer,
  ShadowAnswerList,
} from '../../shared/api/shadows.ts'
import { UsageList } from '../../shared/api/usage.ts'
import { AdapterDigest, AliasName } from '../../shared/ids.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { makeAdapter, type TestAdapter } from '../../test/edge/adapter.ts'
import { readSse, stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { byteIds, tinySpecials, tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
const tail = 1 + 'assistant\n'.length
const rows = 3
let tenant: TestTenant
let own: TestAdapter
let other: TestAdapter

async function publish(at: TestTenant, seed: number, given: { tail?: number; rows?: number } = {}) {
  const adapter = await makeAdapter({ backbone: workerBackbone, seed, ...given })
  await edge.own(at, 'PUT', `/adapters/${adapter.digest}`, adapter.file)
  return adapter
}

const grant = (shadowTokensPerDay: number | null, { id } = tenant) =>
  edge.admin('PATCH', `/tenants/${id}`, { policy: { shadowTokensPerDay } })
const setShadow = ({ digest }: Pick<TestAdapter, 'digest'>, percent = 100) =>
  edge.own(tenant, 'PUT', '/aliases/late/shadow', { digest, percent })

async function withAlias(): Promise<TestTenant> {
  const made = await edge.seedTenant()
  own = await publish(made, 600, { tail, rows: 2 })
  other = await publish(made, 601, { tail, rows })
  await edge.own(made, 'PUT', '/aliases/late', { digest: own.digest })
  return made
}

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await withAlias()
  await grant(1_000_000)
  await stubs.behave({ tokens: byteIds('yes'), reason: 'stop', logprob: -0.5 })
})

const ask = (body: object = {}) => edge.chat(tenant, { model: 'late', max_tokens: 3, ...body })
const shown = async (of = tenant) =>
  ShadowAnswerList.parse(await (await edge.own(of, 'GET', '/aliases/late/shadow/answers')).json()).data
const sent = async () =>
  (await stubs.calls())
    .filter(({ kind }) => kind === 'generate')
    .map(({ body }) => GenerateRequest.parse(body))
const shadowsSent = async () => (await sent()).filter(({ adapter }) => adapter === other.digest)
const usage = async () =>
  UsageList.parse(await (await edge.own(tenant, 'GET', '/usage')).json()).data.find(
    ({ model }) => model === 'late',
  )

async function refusal(answer: Promise<Response>) {
  const response = await answer
  const { code, message, param } = ErrorBody.parse(await response.json()).error
  return { status: response.status, code, param, message }
}

describe('a shadow', () => {
  test('answers the same prompt when the client has its answer, which it does not touch', async () => {
    expect((await setShadow(other)).status).toBe(200)
    const answer = await ask()
    expect(answer.status).toBe(200)
    expect(answer.headers.get('x-quartet-adapter')).toBe(own.digest)
    const [first, second] = await sent()
    expect(first?.adapter).toBe(own.digest)
    expect(second).toMatchObject({ adapter: other.digest, priority: 'low', logprobs: 0, maxTokens: 3 })
    expect(second?.prompt).toEqual(first?.prompt)
    expect(second?.settlement).toBeUndefined()
    const [kept] = await shown()
    expect(kept).toMatchObject({
      request: answer.headers.get('x-request-id'),
      alias: 'late',
      version: 2,
      answer: { adapter: own.digest, text: 'yes', finish_reason: 'stop', completion_tokens: 3 },
      shadow: { adapter: other.digest, error: null, text: 'yes', completion_tokens: 3 },
    })
    expect(kept?.prompt).toMatch(/user\nhello<\|im_end\|>\n<\|im_start\|>assistant\n$/)
    expect(kept?.shadow.tokens).toEqual([...'yes'].map((token) => ({ token, logprob: -0.5 })))
  })

  test('counts in a column of its own, and in no limit but its own', async () => {
    await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { tokensPerDay: 10_000 } })
    await setShadow(other)
    await ask()
    const prompt = (await sent())[0]?.prompt.length ?? 0
    await expect.poll(usage).toMatchObject({
      requests: 1,
      prompt_tokens: prompt,
      completion_tokens: 3,
      shadow_tokens: prompt + 3,
    })
    const { spent } = (await (await edge.own(tenant, 'GET', '/budget')).json()) as { spent: { day: number } }
    expect(spent.day).toBe(prompt + 3)
  })

  test('is off until an operator grants it tokens', async () => {
    await grant(0)
    expect(await refusal(setShadow(other))).toMatchObject({
      status: 409,
      code: 'conflict',
      message: expect.stringContaining('--shadow-tokens-per-day'),
    })
    await grant(1_000)
    await setShadow(other)
    await grant(0)
    expect((await ask()).status).toBe(200)
    expect(await shadowsSent()).toEqual([])
  })

  test('follows a streamed answer, and not one that its client left', async () => {
    await setShadow(other)
    await readSse(await ask({ stream: true }))
    await expect.poll(async () => (await shown()).map(({ answer }) => answer.text)).toEqual(['yes'])
    await stubs.behave({ tokens: byteIds('yes'), delayMs: 20 })
    const reader = (await ask({ stream: true })).body?.getReader()
    await reader?.read()
    await reader?.cancel()
    await expect.poll(async () => (await stubs.calls()).every(({ over }) => over)).toBe(true)
    expect(await shadowsSent()).toEqual([])
    expect((await shown()).length).toBe(1)
  })

  test('that fails leaves the answer whole, tells its failure and uses nothing', async () => {
    await setShadow(other)
    // The bytes of the shadow's adapter are gone, and no node has them.
    for (const { name } of (await env.STORE.list({ prefix: `adapter:${tenant.id}:${other.digest}` })).keys)
      await env.STORE.delete(name)
    await stubs.behave({ tokens: byteIds('yes'), reason: 'stop', adapterMissing: true })
    expect((await ask()).status).toBe(200)
    const [kept] = await shown()
    expect(kept?.answer.text).toBe('yes')
    expect(kept?.shadow).toMatchObject({ text: '', tokens: [] })
    expect(kept?.shadow.error).not.toBeNull()
    await expect.poll(usage).toMatchObject({ requests: 1, errors: 0, shadow_tokens: 0 })
  })

  test.each(['deadline_exceeded', 'adapter_unusable'])(
    'that ends with %s before its first token uses what its node ran of the prompt',
    async (code) => {
      await setShadow(other)
      const tokens = byteIds('yes')
      await stubs.behave({
        tokens,
        reason: 'stop',
        cachedTokens: 2,
        of: { [other.digest]: { failAfter: { tokens: 0, code } } },
      })
      expect((await ask()).status).toBe(200)
      expect((await shown())[0]?.shadow).toMatchObject({ error: code, text: '', cached_tokens: 2 })
      const prompt = (await sent())[0]?.prompt.length ?? 0
      await expect.poll(usage).toMatchObject({ requests: 1, errors: 0, shadow_tokens: prompt - 2 })
    },
  )

  test('never takes more than its tokens of a day, however many requests come at once', async () => {
    await setShadow(other)
    await ask()
    const each = ((await sent())[0]?.prompt.length ?? 0) + rows + 3
    await grant(3 * each)
    await Promise.all(Array.from({ length: 8 }, () => ask()))
    await ask()
    expect((await shown()).length).toBe(3)
    await expect.poll(usage).toMatchObject({ requests: 10, errors: 0, shadow_tokens: 3 * (each - rows) })
  })

  test('answers its share of the requests', async () => {
    await setShadow(other, 50)
    for (let at = 0; at < 12; at++) await ask()
    const count = (await shadowsSent()).length
    // By chance one run of two thousand is outside.
    expect(count).toBeGreaterThan(0)
    expect(count).toBeLessThan(12)
  })

  test('leaves out an answer that is the likeliest of several, and follows the first of several that are all given', async () => {
    await setShadow(other)
    const prompt = 'hello there, my friend'
    const choices = async (body: object) => {
      const answer = await edge.complete(tenant, { model: 'late', prompt, max_tokens: 3, ...body })
      expect(answer.status).toBe(200)
      return (await answer.json<{ choices: readonly unknown[] }>()).choices.length
    }
    expect(await choices({ best_of: 3 })).toBe(1)
    expect(await shadowsSent()).toEqual([])
    expect(await choices({ best_of: 2, n: 2 })).toBe(2)
    expect((await shown()).map(({ answer }) => answer.text)).toEqual(['yes'])
  })

  test('leaves out several models at once, several prompts and a side of a canary that was asked for', async () => {
    await setShadow(other)
    await edge.own(tenant, 'PUT', '/aliases/second', { digest: other.digest })
    await edge.post('/v1/chat/completions', {
      key: tenant.key,
      body: { models: ['late', 'second'], messages: [{ role: 'user', content: 'hello' }], max_tokens: 3 },
    })
    const prompts = ['hello there, my friend', 'hello there, my dear']
    expect((await edge.complete(tenant, { model: 'late', prompt: prompts, max_tokens: 3 })).status).toBe(200)
    const third = await publish(tenant, 602, { tail })
    await edge.own(tenant, 'PUT', '/aliases/late/canary', { digest: third.digest, percent: 50 })
    for (const model of ['late@stable', 'late@canary']) expect((await ask({ model })).status).toBe(200)
    expect(await shadowsSent()).toHaveLength(1)
    expect(await shown()).toEqual([])
    expect((await edge.complete(tenant, { model: 'late', prompt: prompts[0], max_tokens: 3 })).status).toBe(
      200,
    )
    expect((await shown()).length).toBe(1)
  })
})

test('equal answers with a call are the same text, where a special token marks the call', async () => {
  const marker = '[TOOL_CALLS]'
  const written = `{% if m.tool_calls is defined %}${marker}[{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}]{% else %}{{ m.content }}{% endif %}`
  const template = `{% for m in messages %}<|im_start|>{{ m.role + '\\n' }}${written}<|im_end|>{{ '\\n' }}{% endfor %}{{ tools | tojson }}{% if add_generation_prompt %}<|im_start|>{{ 'assistant\\n' }}{% endif %}`
  const [end] = tinyTokenizer.added_tokens
  const marked = { ...end, id: tinySpecials.imEnd + 1, content: marker }
  const tokenizer = { ...tinyTokenizer, added_tokens: [...tinyTokenizer.added_tokens, marked] }
  const backbone = { ...workerBackbone, chat: { template } }
  await setShadow(other)
  const isolate = new TestEdge()
  expect((await isolate.admin('PUT', '/backbones/tiny', { backbone, tokenizer })).status).toBe(204)
  try {
    const call = '[{"name": "look", "arguments": {}}]'
    await stubs.behave({ tokens: [marked.id, ...byteIds(call)], reason: 'stop', logprob: -0.5 })
    const described = { name: 'look', parameters: { type: 'object', properties: {} } }
    const answer = await isolate.chat(tenant, {
      model: 'late',
      max_tokens: 50,
      tools: [{ type: 'function', function: described }],
    })
    const { choices } = ChatCompletion.parse(await answer.json())
    expect(choices[0]?.message.tool_calls).toMatchObject([{ function: { name: 'look' } }])
    const [kept] = await shown()
    expect(kept?.answer.text).toBe(marker + call)
    expect(kept?.shadow.text).toBe(marker + call)
  } finally {
    await edge.seedBackbone()
  }
})

test('a canary that is the shadow too has none of its answers shadowed, the stable side has', async () => {
  await setShadow(other)
  const canary = await edge.own(tenant, 'PUT', '/aliases/late/canary', { digest: other.digest, percent: 50 })
  expect(canary.status).toBe(200)
  const took: (string | null)[] = []
  for (let at = 0; at < 12; at++) took.push((await ask()).headers.get('x-quartet-adapter'))
  const stable = took.filter((digest) => digest === own.digest).length
  // By chance one run of two thousand is outside.
  expect(stable).toBeGreaterThan(0)
  expect(stable).toBeLessThan(12)
  expect((await shown()).map(({ answer }) => answer.adapter)).toEqual(Array(stable).fill(own.digest))
  expect((await shadowsSent()).length).toBe(12)
})

describe("a shadow's place in an alias", () => {
  test('stands in the alias and its history, stays through moves that it fits, and ends', async () => {
    await setShadow(other, 20)
    const alias = async () =>
      AliasSummary.parse(await (await edge.own(tenant, 'GET', '/aliases/late')).json())
    expect(await alias()).toMatchObject({ version: 2, shadow: { digest: other.digest, percent: 20 } })
    expect(AliasSummary.parse(await (await setShadow(other, 20)).json()).version).toBe(2)
    const third = await publish(tenant, 602, { tail })
    await edge.own(tenant, 'PUT', '/aliases/late', { digest: third.digest })
    expect(await alias()).toMatchObject({ digest: third.digest, shadow: { percent: 20 } })
    expect((await edge.own(tenant, 'DELETE', `/adapters/${other.digest}`)).status).toBe(409)
    await edge.own(tenant, 'PUT', '/aliases/late', { digest: tenant.adapter.digest })
    expect((await alias()).shadow).toBeUndefined()
    await edge.own(tenant, 'PUT', '/aliases/late', { digest: own.digest })
    await setShadow(other)
    expect((await edge.own(tenant, 'DELETE', '/aliases/late/shadow')).status).toBe(200)
    expect((await alias()).shadow).toBeUndefined()
    const history = await edge.own(tenant, 'GET', '/aliases/late/history')
    expect(
      History.parse(await history.json()).data.map(({ action, shadow }) => [action, shadow?.percent]),
    ).toEqual([
      ['unshadow', undefined],
      ['shadow', 100],
      ['deploy', undefined],
      ['deploy', undefined],
      ['deploy', 20],
      ['shadow', 20],
      ['deploy', undefined],
    ])
  })

  test.each([
    ['the same adapter', () => own.digest, 'names that adapter already'],
    ['rows at the start of a prompt', () => tenant.adapter.digest, '--placement late'],
    ['an adapter that there is not', () => AdapterDigest.parse('0'.repeat(64)), 'has no adapter'],
  ])('%s is refused', async (_, digest, words) => {
    const { message, status } = await refusal(setShadow({ digest: digest() }))
    expect(status).toBeGreaterThanOrEqual(404)
    expect(message).toContain(words)
  })

  test('a share outside of 1 to 100 is refused, by name', async () => {
    for (const percent of [0, 101, 1.5])
      expect(await refusal(setShadow(other, percent))).toMatchObject({ status: 400, param: 'percent' })
    expect((await refusal(edge.own(tenant, 'DELETE', '/aliases/late/shadow'))).status).toBe(409)
  })
})

describe('the answers of shadows', () => {
  test("are the tenant's own: operators see and delete them, another tenant of the same alias does not", async () => {
    await setShadow(other)
    for (let at = 0; at < 3; at++) await ask()
    const first = tenant
    const kept = await shown()
    expect(kept.length).toBe(3)
    const stranger = await withAlias()
    expect(await shown(stranger)).toEqual([])
    const path = `/tenants/${first.id}/aliases/late/shadow/answers`
    const pages = async (query: string) =>
      ShadowAnswerList.parse(await (await edge.admin('GET', `${path}?${query}`)).json())
    const page = await pages('limit=2')
    expect(page.data.map(({ id }) => id)).toEqual(kept.slice(0, 2).map(({ id }) => id))
    expect(page.has_more).toBe(true)
    expect((await pages(`limit=2&after=${page.last_id}`)).data.map(({ id }) => id)).toEqual([kept[2]?.id])
    expect((await refusal(edge.admin('GET', `${path}?after=x`))).status).toBe(400)
    expect(await (await edge.admin('DELETE', path)).json()).toEqual({ deleted: 3 })
    expect(await shown(first)).toEqual([])
  })

  test('are bounded in number and in bytes, and the oldest go first', async () => {
    const store = env.SHADOWS.get(env.SHADOWS.idFromName('bounded'))
    const alias = AliasName.parse('late')
    const answer = (text: string): Omit<ShadowAnswer, 'id'> => ({
      at: Date.now(),
      request: 'req',
      alias,
      version: 1,
      prompt: text,
      answer: { adapter: own.digest, text: '', finish_reason: 'stop', completion_tokens: 0 },
      shadow: {
        ...{ adapter: other.digest, error: null, text: '', finish_reason: 'stop' },
        ...{ completion_tokens: 0, cached_tokens: 0, tokens: [] },
      },
    })
    const most = { before: undefined, limit: 2 * maxShadowAnswers }
    const over = 10
    await store.put(answer('first'))
    await runInDurableObject(store, (_, { storage }) =>
      storage.sql.exec(
        `INSERT INTO answer (alias, at, bytes, body) SELECT alias, at, bytes, body FROM answer,
         (WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?) SELECT n FROM counted)`,
        maxShadowAnswers + over - 2,
      ),
    )
    await store.put(answer('last'))
    const kept = await store.list(alias, most)
    expect([kept.length, kept[0]?.prompt]).toEqual([maxShadowAnswers, 'last'])
    expect(kept.at(-1)?.id).toBe(String(over + 1))
    const size = 1024 * 1024
    for (let at = 0; at < 10; at++) await store.put(answer('x'.repeat(size)))
    expect((await store.list(alias, most)).length).toBe(Math.floor(maxShadowBytes / (size + 500)))
  })
})
