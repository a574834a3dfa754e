import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { EmbeddingList } from '../../shared/api/embeddings.ts'
import type { ErrorBody } from '../../shared/errors.ts'
import { decodeVector } from '../../shared/vector.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { tinySpecials } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
let tenant: TestTenant

/** The stub's vectors are this times the number of the prompt's tokens, so that each tells its text. */
const unit = [1, -0.5, 0, 0.25]

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
  await stubs.behave({ tokens: [], embedding: unit })
})

const ask = (body: object, headers: Record<string, string> = {}) =>
  edge.fetch('/v1/embeddings', {
    method: 'POST',
    headers: { authorization: `Bearer ${tenant.key}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model: 'tone', ...body }),
  })
const embedded = async (body: object) => {
  const response = await ask(body)
  expect(response.status).toBe(200)
  return EmbeddingList.parse(await response.json())
}
const refused = async (body: object) => {
  const response = await ask(body)
  const { error } = await response.json<ErrorBody>()
  return { status: response.status, ...error }
}

describe('an input', () => {
  test.each([
    ['a text', 'abc', [3]],
    ['a list of texts', ['a', 'abc', 'ab'], [1, 3, 2]],
    ['token ids', [97, 98, tinySpecials.imEnd], [3]],
    ['a list of token ids', [[97, 98], [99]], [2, 1]],
  ])('that is %s gets a vector for each, in order, and counts its tokens', async (_name, input, lengths) => {
    const list = await embedded({ input })
    expect(list.data).toEqual(
      lengths.map((length, index) => ({
        object: 'embedding',
        index,
        embedding: unit.map((x) => x * length),
      })),
    )
    const tokens = lengths.reduce((sum, length) => sum + length, 0)
    expect(list).toMatchObject({ model: 'tone', usage: { prompt_tokens: tokens, total_tokens: tokens } })
  })

  test('may hold 2,048 texts, of which a node is asked for a few at a time', async () => {
    await stubs.behave({ tokens: [], embedding: unit, headDelayMs: 5 })
    const input = Array.from({ length: 200 }, (_, at) => 'a'.repeat(1 + (at % 7)))
    const { data } = await embedded({ input })
    expect(data.map(({ embedding }) => embedding[0])).toEqual(input.map(({ length }) => length))
    expect((await refused({ input: Array.from({ length: 2_049 }, () => 'a') })).message).toMatch(
      /at most 2048/,
    )
  })

  test('comes as base64 with the same numbers', async () => {
    const { data } = await embedded({ input: 'ab', encoding_format: 'base64' })
    expect(decodeVector(String(data[0]?.embedding))).toEqual(Float32Array.from([2, -1, 0, 0.5]))
  })

  test.each([
    [{}, 'input', /input/],
    [{ input: '' }, 'input', /empty/],
    [{ input: [] }, 'input', /must be/],
    [{ input: ['a', ''] }, 'input[1]', /empty/],
    [{ input: ['a', 1] }, null, /input/],
    [{ input: [99_999] }, 'input', /99999 is no token/],
    [{ input: 'a'.repeat(600) }, 'input', /room for; shorten it$/],
    [{ input: 'a', dimensions: 2 }, 'dimensions', /as many numbers as the hidden states/],
    [{ input: 'a', encoding_format: 'int8' }, 'encoding_format', /float or base64/],
    [{ input: 'a', model: 'tone+other' }, 'model', /./],
  ])('%j is refused by name before a node is asked', async (body, param, message) => {
    const error = await refused(body)
    expect(error.status === 400 || error.code === 'model_not_found').toBe(true)
    if (param !== null) expect(error.param).toBe(param)
    expect(error.message).toMatch(message)
    expect(await stubs.calls()).toEqual([])
  })
})

describe('it is a generation like every other:', () => {
  test('the node is asked for no token, and for the adapter’s rows', async () => {
    const response = await ask({ input: 'ab' })
    expect(response.headers.get('x-quartet-adapter')).toBe(tenant.adapter.digest)
    expect(response.headers.get('x-quartet-node')).toMatch(/./)
    const [request] = (await stubs.calls()).map(({ body }) => GenerateRequest.parse(body))
    expect(request).toMatchObject({ maxTokens: 0, embedding: 'mean', adapter: tenant.adapter.digest })
    expect((await ask({ input: 'ab', model: 'tiny' })).headers.get('x-quartet-adapter')).toBe('none')
  })

  test('a node that dies, or sends what is no vector of the model, is replaced by another', async () => {
    const [first, second] = stubs.preferredBy(tenant.adapter)
    for (const behaviour of [
      { tokens: [], embedding: unit, dieAfter: 0 },
      { tokens: [], embedding: null },
      { tokens: [], embedding: [1, 2, 3] },
      { tokens: [], embedding: [1, 2, 3, Number.NaN] },
    ]) {
      await stubs.behaveAt(first, behaviour)
      const response = await ask({ input: 'a' })
      expect([response.status, response.headers.get('x-quartet-node')]).toEqual([200, second.id])
      expect((await response.json<EmbeddingList>()).data[0]?.embedding).toEqual(unit)
      tenant = await edge.seedTenant()
      await stubs.behave({ tokens: [], embedding: unit })
      if (stubs.preferredBy(tenant.adapter)[0].id !== first.id) return
    }
  })

  test('its tokens are charged, and a budget without room refuses it', async () => {
    await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { tokensPerDay: 20 } })
    await embedded({ input: ['abc', 'ab'] })
    const spent = async () =>
      (await (await edge.admin('GET', `/tenants/${tenant.id}/budget`)).json<{ spent: { day: number } }>())
        .spent.day
    // The stub says nothing of the adapter's rows.
    await expect.poll(spent).toBe(5)
    expect(await refused({ input: 'a'.repeat(14) })).toMatchObject({ status: 429, code: 'budget_exhausted' })
  })

  test('an Idempotency-Key has it run once', async () => {
    const [first, again] = [
      await ask({ input: 'a' }, { 'idempotency-key': 'e' }),
      await ask({ input: 'a' }, { 'idempotency-key': 'e' }),
    ]
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(await again.json()).toEqual(await first.json())
    expect(await stubs.calls()).toHaveLength(1)
  })
})
