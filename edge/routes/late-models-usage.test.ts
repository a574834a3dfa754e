import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ErrorBody } from '../../shared/api/error.ts'
import { UsageList } from '../../shared/api/usage.ts'
import { newRequestId, settlementId, TenantId } from '../../shared/ids.ts'
import type { Settlement } from '../../shared/settlement.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
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
