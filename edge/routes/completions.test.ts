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

test('suffix is refused by name, and accepted at its default', async () => {
  await completion({ suffix: null })
  const response = await edge.complete(tenant, { suffix: 'x' })
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ error: { code: 'unsupported_parameter', param: 'suffix' } })
})

describe('for evaluation', () => {
  test('a prompt of token ids comes back with the log-probability of each token but the first', async () => {
    await stubs.behave({ tokens: byteIds('!'), logprob: -2, reason: 'length' })
    const prompt = [byteIds('ab'), byteIds('cde')]
    const { choices, usage } = await completion({ prompt, echo: true, max_tokens: 1, logprobs: 1 })
    expect(choices.map(({ text }) => text)).toEqual(['ab!', 'cde!'])
    expect(choices[1]?.logprobs).toEqual({
      tokens: ['c', 'd', 'e', '!'],
      token_logprobs: [null, -0.25, -0.25, -2],
      top_logprobs: [null, { d: -0.25 }, { e: -0.25 }, { '!': -2, '\0': -3 }],
      text_offset: [0, 1, 2, 3],
    })
    expect(usage).toEqual({ prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 })
    expect((await requests()).map(({ logprobs, promptLogprobs }) => [logprobs, promptLogprobs])).toEqual([
      [1, 1],
      [1, 1],
    ])
  })

  test('the token that ends the answer counts behind an echoed prompt, so that every prompt has one', async () => {
    await stubs.behave({ tokens: [tinySpecials.imEnd], logprob: -2, endsWithStopToken: true })
    const [choice] = (await completion({ prompt: 'ab', echo: true, max_tokens: 1, logprobs: 0 })).choices
    expect(choice?.text).toBe('ab')
    expect(choice?.logprobs?.token_logprobs).toEqual([null, -0.25, -2])
    expect(choice?.logprobs?.text_offset).toEqual([0, 1, 2])
  })

  test('nothing need be generated, and the prompt is charged all the same', async () => {
    const own = await edge.seedTenant()
    const ask = { prompt: 'abc', echo: true, max_tokens: 0, logprobs: 1 }
    const response = await edge.complete(own, ask)
    const { choices, usage } = Completion.parse(await response.json())
    expect(choices[0]).toMatchObject({ text: 'abc', finish_reason: 'length' })
    expect(choices[0]?.logprobs?.token_logprobs).toEqual([null, -0.25, -0.25])
    expect(usage).toEqual({ prompt_tokens: 3, completion_tokens: 0, total_tokens: 3 })
    expect((await requests())[0]?.maxTokens).toBe(0)
    const used = async () => {
      const answer = await edge.fetch('/v1/usage', { headers: { authorization: `Bearer ${own.key}` } })
      const { data } = await answer.json<{ data: { prompt_tokens: number; errors: number }[] }>()
      return data.map(({ errors, prompt_tokens }) => [prompt_tokens, errors])
    }
    await expect.poll(used).toEqual([[3, 0]])
  })

  test('echo alone puts the prompt in front of the text', async () => {
    const { choices } = await completion({ prompt: 'Hello', echo: true })
    expect(choices[0]).toMatchObject({ text: 'Hello world', logprobs: null })
    expect((await requests())[0]?.promptLogprobs).toBeUndefined()
  })

  test('a stream begins with the prompt and its log-probabilities, once', async () => {
    await stubs.behave({ tokens: byteIds('xy'), logprob: -1, isEachWritten: true })
    const response = await edge.complete(tenant, { prompt: 'ab', echo: true, logprobs: 0, stream: true })
    const events = (await readSse(response)).filter((event) => event !== '[DONE]')
    const choices = events.flatMap((event) => Completion.parse(JSON.parse(event)).choices)
    expect(choices.map(({ text }) => text).join('')).toBe('abxy')
    expect(choices.flatMap(({ logprobs }) => logprobs?.token_logprobs ?? [])).toEqual([null, -0.25, -1, -1])
    expect(choices.flatMap(({ logprobs }) => logprobs?.text_offset ?? [])).toEqual([0, 1, 2, 3])
  })

  test('prompt_logprobs have the form of vLLM', async () => {
    const { choices } = await completion({ prompt: 'ab', prompt_logprobs: 2, max_tokens: 1 })
    const [b] = byteIds('b')
    expect(choices[0]?.prompt_logprobs).toEqual([
      null,
      {
        [`${b}`]: { logprob: -0.25, rank: 1, decoded_token: 'b' },
        '0': { logprob: -1.25, rank: 2, decoded_token: '\0' },
      },
    ])
    expect(choices[0]?.logprobs).toBeNull()
  })

  test('best_of generates and counts as many, and answers n', async () => {
    await stubs.behave({ tokens: byteIds('x'), logprob: -1 })
    const { choices, usage } = await completion({ prompt: 'ab', best_of: 3, n: 2 })
    expect(choices.map(({ index, logprobs, text }) => [index, text, logprobs])).toEqual([
      [0, 'x', null],
      [1, 'x', null],
    ])
    expect(usage).toMatchObject({ prompt_tokens: 2, completion_tokens: 3 })
    expect((await requests()).length).toBe(3)
  })

  test('a node that leaves the scores of the prompt out has failed', async () => {
    await stubs.behave({ tokens: byteIds('x'), logprob: -1, promptLogprob: null })
    const response = await edge.complete(tenant, { prompt: 'ab', echo: true, logprobs: 0 })
    expect(response.status).toBe(502)
  })

  test.each([
    ['max_tokens', { max_tokens: 0 }, /needs echo or prompt_logprobs/],
    ['logprobs', { logprobs: 21 }, /0 to 20/],
    ['best_of', { best_of: 1, n: 2 }, /less than n/],
    ['best_of', { best_of: 2, stream: true }, /does not go with stream/],
    ['prompt_logprobs', { prompt_logprobs: 1, stream: true }, /does not go with stream/],
    [
      'prompt',
      { prompt: Array.from({ length: 128 }, () => 'a'.repeat(60)), echo: true, logprobs: 20 },
      /send fewer prompts/,
    ],
  ])('%s names itself when it does not fit', async (param, body, message) => {
    const response = await edge.complete(tenant, body)
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      error: { param, message: expect.stringMatching(message) },
    })
  })
})

test('bad words reach the node as their tokens, with and without a space in front, and priority as a number', async () => {
  await completion({ bad_words: ['ab', 'c'], priority: -3 })
  const [request] = await requests()
  expect(request?.sampling.badWords).toEqual([[97, 98], [32, 97, 98], [99], [32, 99]])
  expect(request?.ownPriority).toBe(-3)
})

test.each([
  [{ bad_words: [''] }, 'bad_words[0]'],
  [{ bad_words: Array.from({ length: 65 }, () => 'a') }, 'bad_words'],
  [{ bad_words: 'a' }, 'bad_words'],
  [{ priority: 0.5 }, 'priority'],
  [{ priority: 2 ** 31 }, 'priority'],
])('%j is refused by name', async (body, param) => {
  const response = await edge.complete(tenant, body)
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ error: { param } })
})
