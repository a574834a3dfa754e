import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ErrorBody } from '../../shared/api/error.ts'
import { UsageList } from '../../shared/api/usage.ts'
import { newRequestId, settlementId, TenantId } from '../../shared/ids.ts'
import type { Settlement } from '../../shared/settlement.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { readSse, stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

/** A new isolate for each test has seen no first tokens, so that it hedges nothing. */
let edge = new TestEdge()
const tail = 1 + 'assistant\n'.length
/** Late aliases, by the number of rows that their adapters make. */
const rowsOf = { safe: 2, topic: 3, answer: 4 } as const
type Alias = keyof typeof rowsOf
const models = ['safe', 'topic', 'answer'] as const
const digests = new Map<string, string>()
let tenant: TestTenant

const digestOf = (alias: Alias) => digests.get(alias) ?? ''
const word = byteIds('yes')

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  edge = new TestEdge()
  tenant = await edge.seedTenant()
  for (const alias of models) {
    const adapter = await makeAdapter({
      backbone: workerBackbone,
      seed: 700 + rowsOf[alias],
      rows: rowsOf[alias],
      tail,
    })
    digests.set(alias, adapter.digest)
    expect((await edge.own(tenant, 'POST', `/adapters?alias=${alias}`, adapter.file)).status).toBe(201)
  }
  await stubs.behave({ tokens: word, reason: 'stop' })
})

const ask = (body: object = {}) => edge.chat(tenant, { model: undefined, models, max_tokens: 8, ...body })
/** Each name's row of the usage. */
const usage = async () => {
  const { data } = UsageList.parse(await (await edge.own(tenant, 'GET', '/usage')).json())
  return Object.fromEntries(data.map((row) => [row.model, row]))
}
const outcomes = async () =>
  Object.fromEntries(
    Object.entries(await usage()).map(([model, { errors, first_token_ms, requests }]) => [
      model,
      [requests, errors, first_token_ms.count],
    ]),
  )
const prompts = async () => (await stubs.calls()).map(({ body }) => GenerateRequest.parse(body).prompt.length)
/** The one call of an alias that reached a node. */
const callOf = async (alias: Alias) => {
  const calls = (await stubs.calls()).filter(
    ({ body, kind }) => kind === 'generate' && GenerateRequest.parse(body).adapter === digestOf(alias),
  )
  expect(calls.length).toBe(1)
  const [call] = calls
  if (call === undefined) throw new Error(`no call of ${alias}`)
  return call
}
/** Prompt tokens, rows, generated tokens, errors. */
const charged = async () =>
  Object.fromEntries(
    Object.entries(await usage()).map(([model, row]) => [
      model,
      [row.prompt_tokens, row.prompt_rows, row.completion_tokens, row.errors],
    ]),
  )
/** Counts what the nodes ran of each, the conversation with the first; `errors` by name. */
const ran = async (errors: Partial<Record<Alias, number>> = {}) => {
  const [prompt = 0] = await prompts()
  const rows = await Promise.all(
    models.map(async (alias) => {
      const { sent } = await callOf(alias)
      return [alias, [alias === 'safe' ? prompt : 0, rowsOf[alias], sent, errors[alias] ?? 0]] as const
    }),
  )
  return Object.fromEntries(rows)
}
const rowsOfAll = () => Object.fromEntries(models.map((alias) => [digestOf(alias), rowsOf[alias]]))
const isOver = async () => (await stubs.calls()).every(({ over }) => over)
/** Requests, errors and times to a first token. */
const fine = [1, 0, 1]
const cut = [1, 0, 0]
const failed = [1, 1, 0]

describe('the usage of several models in one request', () => {
  test('has a request and a first token of each, and the limits count one request', async () => {
    await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { requestsPerMinute: 10 } })
    const response = await ask()
    expect(response.status).toBe(200)
    expect(response.headers.get('x-ratelimit-remaining-requests')).toBe('9')
    await expect.poll(outcomes).toEqual({ safe: fine, topic: fine, answer: fine })
  })

  test('has the error of a failed answer with its own model, where the others were still at work', async () => {
    await stubs.behave({
      tokens: word,
      delayMs: 200,
      of: { [digestOf('topic')]: { delayMs: 0, failAfter: { tokens: 0, code: 'adapter_unusable' } } },
    })
    const response = await ask()
    expect(ErrorBody.parse(await response.json()).error.code).toBe('adapter_unusable')
    await expect.poll(outcomes).toEqual({ safe: cut, topic: failed, answer: cut })
  })

  test('has the error of a failed answer with its own model, where the first had its answer already', async () => {
    await stubs.behave({
      tokens: word,
      delayMs: 200,
      of: {
        [digestOf('safe')]: { delayMs: 0 },
        [digestOf('topic')]: { delayMs: 40, failAfter: { tokens: 1, code: 'adapter_unusable' } },
      },
    })
    expect((await ask()).ok).toBe(false)
    await expect.poll(outcomes).toEqual({ safe: fine, topic: failed, answer: cut })
  })

  test('has no error of an answer whose node died and that was beginning elsewhere when another failed', async () => {
    const home = (await ask()).headers.get('x-quartet-node')
    await expect.poll(outcomes).toEqual({ safe: fine, topic: fine, answer: fine })
    edge = new TestEdge()
    for (const node of stubs.addresses())
      await stubs.behaveAt(
        node,
        node.id === home
          ? {
              tokens: word,
              delayMs: 300,
              of: {
                [digestOf('topic')]: { delayMs: 5, dieAfter: 2 },
                [digestOf('answer')]: { delayMs: 200, failAfter: { tokens: 1, code: 'adapter_unusable' } },
              },
            }
          : { tokens: word, headDelayMs: 3_000 },
      )
    expect(ErrorBody.parse(await (await ask()).json()).error.code).toBe('adapter_unusable')
    const counts = async () =>
      Object.entries(await usage()).map(([model, { errors, requests }]) => [model, requests, errors])
    await expect
      .poll(async () => (await counts()).toSorted())
      .toEqual([
        ['answer', 2, 1],
        ['safe', 2, 0],
        ['topic', 2, 0],
      ])
  })
})

describe('several answers of which one fails', () => {
  beforeEach(() =>
    stubs.behave({
      tokens: byteIds('x'.repeat(300)),
      delayMs: 20,
      rows: rowsOfAll(),
      of: {
        [digestOf('safe')]: { delayMs: 0, tokens: word },
        [digestOf('topic')]: { failAfter: { tokens: 5, code: 'adapter_unusable' } },
      },
    }),
  )

  test('are an error, stop the others at the node, and are charged as far as they ran', async () => {
    const response = await ask({ max_tokens: 300 })
    expect(response.status).toBe(422)
    expect(ErrorBody.parse(await response.json()).error.code).toBe('adapter_unusable')
    await expect.poll(isOver).toBe(true)
    expect((await callOf('answer')).aborted).toBe(true)
    await expect.poll(charged).toEqual(await ran({ topic: 1 }))
    expect((await callOf('answer')).sent).toBeGreaterThan(0)
  })

  test('end a stream with the error, stop the others at the node, and are charged as far as they ran', async () => {
    const response = await ask({ max_tokens: 300, stream: true })
    expect(response.status).toBe(200)
    const events = await readSse(response)
    expect(events.at(-1)).not.toBe('[DONE]')
    expect(events.at(-1)).toContain('"adapter_unusable"')
    await expect.poll(isOver).toBe(true)
    expect((await callOf('answer')).aborted).toBe(true)
    await expect.poll(charged).toEqual(await ran({ topic: 1 }))
  })

  test('because every node is full are refused, and no request of any name', async () => {
    await stubs.behave({
      tokens: word,
      delayMs: 1_000,
      rows: rowsOfAll(),
      of: { [digestOf('topic')]: { refuse: { status: 429, code: 'queue_full' } } },
    })
    const response = await ask()
    expect(response.status).toBe(429)
    await expect.poll(isOver).toBe(true)
    await ask({ models: undefined, model: 'safe' })
    await expect.poll(outcomes).toEqual({ safe: fine })
    expect((await charged()).safe?.[2]).toBe(word.length)
  })

  test('because every node became full meanwhile are charged what the others had generated', async () => {
    await stubs.behave({
      tokens: word,
      rows: rowsOfAll(),
      of: { [digestOf('topic')]: { headDelayMs: 200, refuse: { status: 429, code: 'queue_full' } } },
    })
    expect((await ask()).status).toBe(429)
    const [prompt] = await prompts()
    await expect.poll(charged).toEqual({
      safe: [prompt, rowsOf.safe, word.length, 0],
      answer: [0, rowsOf.answer, word.length, 0],
    })
  })

  test('without a token, the first of them, leave the conversation free and charge the others’ work', async () => {
    await stubs.behave({
      tokens: word,
      rows: rowsOfAll(),
      of: { [digestOf('safe')]: { headDelayMs: 200, refuse: { status: 500, code: 'internal_error' } } },
    })
    expect((await ask()).status).toBe(502)
    await expect.poll(charged).toEqual({
      safe: [0, 0, 0, 1],
      topic: [0, rowsOf.topic, word.length, 0],
      answer: [0, rowsOf.answer, word.length, 0],
    })
  })
})

describe('a client that leaves several answers', () => {
  const leave = async (body: object, isTime: () => Promise<boolean>) => {
    const client = new AbortController()
    const answer = edge
      .fetch('/v1/chat/completions', {
        method: 'POST',
        headers: { authorization: `Bearer ${tenant.key}` },
        body: JSON.stringify({ models, messages: [{ role: 'user', content: 'hello' }], ...body }),
        signal: client.signal,
      })
      .catch(() => undefined)
    await expect.poll(isTime).toBe(true)
    client.abort()
    await (await answer)?.text().catch(() => undefined)
    await expect.poll(isOver).toBe(true)
    expect((await stubs.calls()).map(({ aborted }) => aborted)).toEqual([true, true, true])
  }

  test.each([false, true])(
    'stops all of them, and each name is charged what ran (stream: %s)',
    async (stream) => {
      await stubs.behave({ tokens: byteIds('x'.repeat(300)), delayMs: 20, rows: rowsOfAll() })
      await leave({ max_tokens: 300, stream }, async () => {
        const calls = await stubs.calls()
        return calls.length === 3 && calls.every(({ sent }) => sent > 1)
      })
      await expect.poll(charged).toEqual(await ran())
      expect(await outcomes()).toMatchObject({ safe: [1, 0, 1], topic: [1, 0, 1], answer: [1, 0, 1] })
    },
  )

  test('before the first token is charged what was read for each name', async () => {
    await stubs.behave({ tokens: word, headDelayMs: 3_000, rows: rowsOfAll() })
    await leave({ max_tokens: 8 }, async () => (await stubs.calls()).length === 3)
    await expect.poll(charged).toEqual(await ran())
    expect(await outcomes()).toMatchObject({ safe: cut, topic: cut, answer: cut })
  })
})

test.each([
  [
    ['stop', 'internal_error'],
    [1, 1, 0],
  ],
  [
    ['internal_error', 'stop', 'internal_error'],
    [1, 1, 0],
  ],
  [
    ['stop', 'stop'],
    [1, 0, 0],
  ],
])('several choices of one model that end by %j are one request and at most one error', async (ends, row) => {
  const requestId = newRequestId()
  const terms = {
    day: new Date().toISOString().slice(0, 10),
    at: Date.now(),
    lease: null,
    key: 'key_000000000000',
    model: 'safe',
    // A newer edge wrote this field.
    paidBy: 'nobody',
    prompt: 7,
    completion: 20,
  }
  const told = ends.map(
    (outcome, choice): Settlement => ({
      id: settlementId({ requestId, choice, attempt: 0 }),
      requestId,
      tenant: TenantId.parse(tenant.id),
      terms: JSON.stringify(terms),
      usage: { promptTokens: 7, completionTokens: 3 },
      outcome,
      firstTokenMs: null,
      endedAt: Date.now(),
    }),
  )
  await env.BUDGETS.get(env.BUDGETS.idFromName(tenant.id)).settle(told)
  expect(await outcomes()).toEqual({ safe: row })
})
