import OpenAI from 'openai'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

/** The official package, unmodified; only its network is this process. */

const edge = new TestEdge()
let tenant: TestTenant
let openai: OpenAI

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
  openai = new OpenAI({
    apiKey: tenant.key,
    baseURL: 'http://edge/v1',
    maxRetries: 0,
    fetch: (url, init) => edge.fetch(new URL(String(url)).pathname, init),
  })
})
beforeEach(() => stubs.behave({ tokens: byteIds('Hello'), delayMs: 3 }))

const ask = {
  model: 'tone',
  messages: [{ role: 'user', content: 'hi' }],
} satisfies Partial<OpenAI.ChatCompletionCreateParams>

test('chat, whole and streamed', async () => {
  const whole = await openai.chat.completions.create(ask)
  expect(whole.choices[0]?.message.content).toBe('Hello')
  expect(whole._request_id).toMatch(/^req_/)
  let streamed = ''
  for await (const chunk of await openai.chat.completions.create({ ...ask, stream: true }))
    streamed += chunk.choices[0]?.delta.content ?? ''
  expect(streamed).toBe('Hello')
})

test('a conversation goes on with the message it got', async () => {
  const { choices } = await openai.chat.completions.create(ask)
  const answer = choices[0]?.message
  if (answer === undefined) throw new Error('no answer')
  const next = await openai.chat.completions.create({
    ...ask,
    messages: [...ask.messages, answer, { role: 'user', content: 'and?' }],
  })
  expect(next.choices).toHaveLength(1)
})

test('its stream helper puts the pieces together', async () => {
  const stream = openai.chat.completions.stream({ ...ask, stream_options: { include_usage: true } })
  expect(await stream.finalContent()).toBe('Hello')
  expect((await stream.totalUsage()).completion_tokens).toBe(5)
})

test('embeddings, which it takes as base64', async () => {
  await stubs.behave({ tokens: [], embedding: [1, -0.5, 0, 0.25] })
  const { data, usage } = await openai.embeddings.create({ model: 'tone', input: ['a', 'ab'] })
  expect(data.map(({ embedding }) => embedding)).toEqual([
    [1, -0.5, 0, 0.25],
    [2, -1, 0, 0.5],
  ])
  expect(usage).toEqual({ prompt_tokens: 3, total_tokens: 3 })
})

test('files, whichever of file and purpose it is given first', async () => {
  const lines = {
    'fine-tune': JSON.stringify({ prompt: 'hello', completion: 'world' }),
    batch: JSON.stringify({ custom_id: 'a', method: 'POST', url: '/v1/chat/completions', body: ask }),
  }
  for (const purpose of ['fine-tune', 'batch'] as const) {
    const file = () => new File([lines[purpose]], 'lines.jsonl')
    const first = await openai.files.create({ file: file(), purpose })
    const second = await openai.files.create({ purpose, file: file() })
    expect(first).toEqual({ ...second, id: first.id, created_at: first.created_at })
    expect(first).toMatchObject({ purpose, lines: 1 })
    expect('token_counts' in first).toBe(purpose === 'fine-tune')
    expect(await (await openai.files.content(first.id)).text()).toBe(lines[purpose])
  }
})

test('legacy completions and models', async () => {
  expect((await openai.completions.create({ model: 'tiny', prompt: 'hi' })).choices[0]?.text).toBe('Hello')
  const ids = []
  for await (const { id } of openai.models.list()) ids.push(id)
  expect(ids).toEqual(['tone', 'tiny'])
  expect((await openai.models.retrieve('tone')).object).toBe('model')
})

describe('errors have its classes', () => {
  test('for a wrong key, an unknown model and a bad parameter', async () => {
    await expect(openai.withOptions({ apiKey: 'qk_no' }).models.list()).rejects.toBeInstanceOf(
      OpenAI.AuthenticationError,
    )
    await expect(openai.chat.completions.create({ ...ask, model: 'nobody' })).rejects.toMatchObject({
      constructor: OpenAI.NotFoundError,
      code: 'model_not_found',
      param: 'model',
      requestID: expect.stringMatching(/^req_/),
    })
    await expect(openai.chat.completions.create({ ...ask, temperature: 9 })).rejects.toMatchObject({
      constructor: OpenAI.BadRequestError,
      param: 'temperature',
    })
  })

  test('for a full queue', async () => {
    await stubs.behave({ tokens: [], refuse: { status: 429, code: 'queue_full' } })
    await expect(openai.chat.completions.create(ask)).rejects.toBeInstanceOf(OpenAI.RateLimitError)
  })

  test('for a stream that breaks', async () => {
    await stubs.behave({ tokens: byteIds('Hello'), delayMs: 3, dieAfter: 2 })
    let text = ''
    const reading = (async () => {
      for await (const chunk of await openai.chat.completions.create({ ...ask, stream: true }))
        text += chunk.choices[0]?.delta.content ?? ''
    })()
    await expect(reading).rejects.toMatchObject({ constructor: OpenAI.APIError, code: 'node_error' })
    expect(text).toBe('He')
  })
})

test('aborting a stream stops the node', async () => {
  await stubs.behave({ tokens: byteIds('x'.repeat(300)), delayMs: 10 })
  const stream = await openai.chat.completions.create({ ...ask, stream: true })
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break
  await expect.poll(async () => (await stubs.calls()).map(({ aborted }) => aborted)).toEqual([true])
})
