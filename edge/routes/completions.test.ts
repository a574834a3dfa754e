import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Completion } from '../../shared/api/completions.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { readSse, stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { byteIds, tinySpecials } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
})
beforeEach(() => stubs.behave({ tokens: byteIds(' world'), reason: 'stop' }))

const completion = async (body: object) => {
  const response = await edge.complete(tenant, body)
  expect(response.status).toBe(200)
  return Completion.parse(await response.json())
}
const requests = async () => (await stubs.calls()).map(({ body }) => GenerateRequest.parse(body))

describe('a prompt', () => {
  test('of text is continued, with 16 tokens unless asked otherwise', async () => {
    const { choices, object, usage } = await completion({})
    expect(object).toBe('text_completion')
    expect(choices).toEqual([{ index: 0, text: ' world', logprobs: null, finish_reason: 'stop' }])
    expect(usage).toEqual({ prompt_tokens: 1, completion_tokens: 6, total_tokens: 7 })
    expect((await requests())[0]?.maxTokens).toBe(16)
  })

  test('of token ids is taken as it is', async () => {
    await completion({ prompt: [1, 2, tinySpecials.imEnd] })
    expect((await requests())[0]?.prompt).toEqual([1, 2, tinySpecials.imEnd])
  })

  test('may be several, each with n choices in order, each counted once', async () => {
    const { choices, usage } = await completion({ prompt: ['a', [98, 99]], n: 2 })
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3])
    expect((await requests()).map(({ prompt }) => prompt.join()).sort()).toEqual([
      '97',
      '97',
      '98,99',
      '98,99',
    ])
    expect(usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 24 })
  })

  test.each([
    ['an id that no token has', [100_000], /100000 is no token/],
    ['nothing', '', /empty/],
    ['an empty list', [], /must be a string/],
    ['more than 128', Array.from({ length: 129 }, () => 'a'), /at most 128/],
    ['a mixture', ['a', 1], /prompt/],
  ])('of %s is refused', async (_name, prompt, message) => {
    const response = await edge.complete(tenant, { prompt })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { message: expect.stringMatching(message) } })
  })
})

test('log-probabilities have the legacy shape', async () => {
  await stubs.behave({ tokens: byteIds('aé'), logprob: -0.5 })
  const { choices } = await completion({ logprobs: 1 })
  expect(choices[0]?.logprobs).toEqual({
    tokens: ['a', 'bytes:\\xc3', 'bytes:\\xa9'],
    token_logprobs: [-0.5, -0.5, -0.5],
    top_logprobs: [
      { a: -0.5, '\0': -1.5 },
      { 'bytes:\\xc3': -0.5, '\0': -1.5 },
      { 'bytes:\\xa9': -0.5, '\0': -1.5 },
    ],
    text_offset: [0, 1, 1],
  })
})

test('log-probabilities have the chosen token among the likeliest, or none of them when 0 are asked for', async () => {
  await stubs.behave({ tokens: byteIds('é'), logprob: -9, top: [[0, -0.1]] })
  expect((await completion({ logprobs: 1 })).choices[0]?.logprobs?.top_logprobs).toEqual([
    { '\0': -0.1, 'bytes:\\xc3': -9 },
    { '\0': -0.1, 'bytes:\\xa9': -9 },
  ])
  await stubs.behave({ tokens: byteIds('a'), logprob: -9, top: [] })
  expect((await completion({ logprobs: 0 })).choices[0]?.logprobs?.top_logprobs).toBeNull()
})

test('the tokens of a stop string are in no log-probabilities', async () => {
  await stubs.behave({ tokens: byteIds('😀'.repeat(12)), logprob: -1 })
  const [choice] = (await completion({ logprobs: 1, stop: '😀' })).choices
  expect([choice?.text, choice?.logprobs?.tokens]).toEqual(['', []])
})

test('128 prompts are answered in order', async () => {
  await stubs.behave({ tokens: byteIds('x') })
  const { choices } = await completion({ prompt: Array.from({ length: 128 }, (_, at) => [at + 1]) })
  expect(choices.map(({ index, text }) => [index, text])).toEqual(
    Array.from({ length: 128 }, (_, at) => [at, 'x']),
  )
  expect(new Set((await requests()).map(({ prompt }) => prompt.join())).size).toBe(128)
})

test('more than 128 choices in all are refused', async () => {
  const response = await edge.complete(tenant, { prompt: Array.from({ length: 65 }, () => 'a'), n: 2 })
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ error: { param: 'n' } })
})

test('a stream carries the text and ends with the usage when asked', async () => {
  const response = await edge.complete(tenant, { stream: true, stream_options: { include_usage: true } })
  expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
  const events = await readSse(response)
  expect(events.pop()).toBe('[DONE]')
  const chunks = events.map((event) => Completion.parse(JSON.parse(event)))
  expect(chunks.map(({ choices }) => choices[0]?.text ?? '').join('')).toBe(' world')
  expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe('stop')
  expect(chunks.at(-1)?.usage?.completion_tokens).toBe(6)
})

test.each(['echo', 'suffix', 'best_of'])(
  '%s is refused by name, and accepted at its default',
  async (name) => {
    const defaults = { echo: false, suffix: null, best_of: 1 }
    const others = { echo: true, suffix: 'x', best_of: 3 }
    const only = <T extends object>(values: T) =>
      Object.fromEntries(Object.entries(values).filter(([key]) => key === name))
    await completion(only(defaults))
    const response = await edge.complete(tenant, only(others))
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { code: 'unsupported_parameter', param: name } })
  },
)
