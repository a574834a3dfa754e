import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ChatCompletion, ChatCompletionChunk } from '../../shared/api/chat-completions.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { readSse, stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { byteIds, tinySpecials } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
})

const says = (text: string) => stubs.behave({ tokens: byteIds(text), reason: 'stop' })
const completion = async (body: object) => {
  const response = await edge.chat(tenant, body)
  expect(response.status).toBe(200)
  return ChatCompletion.parse(await response.json())
}
const lastRequest = async () => GenerateRequest.parse((await stubs.calls()).at(-1)?.body)

async function stream(body: object) {
  const events = await readSse(await edge.chat(tenant, { ...body, stream: true }))
  expect(events.pop()).toBe('[DONE]')
  return events.map((event) => ChatCompletionChunk.parse(JSON.parse(event)))
}

beforeEach(() => says('Hi there'))

describe('an answer', () => {
  test('has the text, a finish reason and the counts of the node', async () => {
    const { choices, model, object, usage } = await completion({})
    expect({ model, object }).toEqual({ model: 'tone', object: 'chat.completion' })
    expect(choices).toEqual([
      {
        index: 0,
        message: { role: 'assistant', content: 'Hi there', refusal: null },
        logprobs: null,
        finish_reason: 'stop',
      },
    ])
    const { prompt } = await lastRequest()
    expect(usage).toEqual({
      prompt_tokens: prompt.length,
      completion_tokens: 8,
      total_tokens: prompt.length + 8,
    })
  })

  test('says how much of the prompt an earlier request had run already', async () => {
    await stubs.behave({ tokens: byteIds('Hi'), cachedTokens: 3 })
    const details = { prompt_tokens_details: { cached_tokens: 3 } }
    expect((await completion({})).usage).toMatchObject(details)
    expect((await completion({ n: 2 })).usage).toMatchObject(details)
    const chunks = await stream({ stream_options: { include_usage: true } })
    expect(chunks.at(-1)?.usage).toMatchObject(details)
  })

  test('says so too where a stop string ends the answer before the node has counted', async () => {
    await stubs.behave({ tokens: byteIds('Hi there, and on'), cachedTokens: 3, delayMs: 5 })
    const { usage } = await completion({ stop: ' there' })
    expect(usage).toMatchObject({ prompt_tokens_details: { cached_tokens: 3 } })
  })

  test('says in its headers what served it', async () => {
    const { headers } = await edge.chat(tenant)
    expect(headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
    expect(headers.get('x-quartet-adapter')).toBe(tenant.adapter.digest)
    expect(headers.get('x-quartet-node')).toMatch(/^stub-[01]$/)
    expect(headers.get('x-quartet-retries')).toBe('0')
    expect(headers.get('server-timing')).toMatch(/auth;dur=.*tokenize;dur=.*node;dur=/)
    expect((await edge.chat(tenant, { model: 'tiny' })).headers.get('x-quartet-adapter')).toBe('none')
  })

  test('counts a stop token that has no text', async () => {
    await stubs.behave({ tokens: [...byteIds('Hi'), tinySpecials.imEnd], endsWithStopToken: true })
    const { choices, usage } = await completion({})
    expect(choices[0]?.message.content).toBe('Hi')
    expect(usage.completion_tokens).toBe(3)
  })

  test('cut off by max_tokens says so', async () => {
    await stubs.behave({ tokens: byteIds('Hi'), reason: 'length' })
    expect((await completion({ max_tokens: 2 })).choices[0]?.finish_reason).toBe('length')
  })
})

describe('a stream', () => {
  test('opens with the role, carries the text and ends with the reason', async () => {
    const chunks = await stream({})
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: 'assistant', content: '' })
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe('Hi there')
    expect(chunks.at(-1)?.choices[0]).toMatchObject({ delta: {}, finish_reason: 'stop' })
    expect(chunks.every((chunk) => !('usage' in chunk))).toBe(true)
  })

  test('with include_usage ends with the usage, null before', async () => {
    const chunks = await stream({ stream_options: { include_usage: true } })
    const last = chunks.pop()
    expect(last?.choices).toEqual([])
    expect(last?.usage?.completion_tokens).toBe(8)
    expect(chunks.every(({ usage }) => usage === null)).toBe(true)
  })

  test('shows each token as it comes, and no character before it is whole', async () => {
    await stubs.behave({ tokens: byteIds('a😀b'), delayMs: 15 })
    const pieces = (await stream({})).flatMap((chunk) => chunk.choices[0]?.delta.content || [])
    expect(pieces).toEqual(['a', '😀', 'b'])
  })
})

describe('n choices', () => {
  test('are generated apart, with a seed each, and the prompt counts once', async () => {
    const { choices, usage } = await completion({ n: 3, seed: 40 })
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2])
    const requests = (await stubs.calls()).map(({ body }) => GenerateRequest.parse(body))
    expect(requests.map(({ sampling }) => sampling.seed).sort()).toEqual([40, 41, 42])
    expect(usage).toMatchObject({ prompt_tokens: requests[0]?.prompt.length, completion_tokens: 24 })
  })

  test('stream side by side', async () => {
    await stubs.behave({ tokens: byteIds('abc'), delayMs: 20 })
    const chunks = await stream({ n: 2, stream_options: { include_usage: true } })
    expect(chunks.at(-1)?.usage?.completion_tokens).toBe(6)
    for (const index of [0, 1]) {
      const own = chunks.flatMap(({ choices }) => choices.filter((choice) => choice.index === index))
      expect(own.map(({ delta }) => delta.content ?? '').join('')).toBe('abc')
      expect(own.at(-1)?.finish_reason).toBe('stop')
    }
    const order = chunks.flatMap(({ choices }) =>
      choices.flatMap(({ delta, index }) => (delta.content ? index : [])),
    )
    expect(new Set(order.slice(0, 2)).size).toBe(2)
  })
})

describe('a stop string', () => {
  test('ends the answer across token borders, stops the node and counts what was consumed', async () => {
    await stubs.behave({ tokens: byteIds(`one STOP two ${'x'.repeat(200)}`), delayMs: 10 })
    const { choices, usage } = await completion({ stop: ['STOP', 'never'] })
    expect(choices[0]).toMatchObject({ message: { content: 'one ' }, finish_reason: 'stop' })
    expect(usage.completion_tokens).toBe(8)
    await expect.poll(async () => (await stubs.calls())[0]?.aborted).toBe(true)
    expect((await stubs.calls())[0]?.sent).toBeLessThan(20)
  })

  test('never shows in a stream, nor does its beginning', async () => {
    await stubs.behave({ tokens: byteIds('one STO no, STOP'), delayMs: 2 })
    const pieces = (await stream({ stop: 'STOP' })).flatMap((chunk) => chunk.choices[0]?.delta.content || [])
    expect(pieces.join('')).toBe('one STO no, ')
    expect(pieces).not.toContain('S')
  })

  test('of one choice leaves the others running', async () => {
    await stubs.behave({ tokens: byteIds('ab'), delayMs: 5 })
    const { choices } = await completion({ n: 2, stop: 'b' })
    expect(choices.map(({ message }) => message.content)).toEqual(['a', 'a'])
  })
})

describe('log-probabilities', () => {
  test('come with text, bytes and alternatives, even of half a character', async () => {
    await stubs.behave({ tokens: byteIds('é'), logprob: -0.5 })
    const { choices } = await completion({ logprobs: true, top_logprobs: 2 })
    expect(choices[0]?.logprobs?.content).toEqual([
      {
        token: '\\xc3',
        bytes: [0xc3],
        logprob: -0.5,
        top_logprobs: [
          { token: '\\xc3', bytes: [0xc3], logprob: -0.5 },
          { token: '\0', bytes: [0], logprob: -1.5 },
        ],
      },
      expect.objectContaining({ token: '\\xa9', bytes: [0xa9] }),
    ])
    expect((await lastRequest()).logprobs).toBe(2)
  })

  test('stream with the text they belong to', async () => {
    await stubs.behave({ tokens: byteIds('ab'), logprob: -1, delayMs: 15 })
    const content = (await stream({ logprobs: true })).flatMap(
      (chunk) => chunk.choices[0]?.logprobs?.content ?? [],
    )
    expect(content.map(({ token }) => token)).toEqual(['a', 'b'])
  })
})

describe('the request to the node', () => {
  test('is ids, sampling and the adapter, under the tenant’s own token', async () => {
    await completion({
      temperature: 0.5,
      top_p: 0.9,
      top_k: 40,
      min_p: 0.1,
      frequency_penalty: 1,
      presence_penalty: -1,
      logit_bias: { '97': 5 },
      seed: 7,
      max_tokens: 20,
    })
    expect(await lastRequest()).toMatchObject({
      backbone: workerBackbone.digest,
      adapter: tenant.adapter.digest,
      maxTokens: 20,
      stopTokens: workerBackbone.tokens.eos,
      logprobs: null,
      sampling: {
        temperature: 0.5,
        topP: 0.9,
        topK: 40,
        minP: 0.1,
        frequencyPenalty: 1,
        presencePenalty: -1,
        logitBias: [[97, 5]],
        seed: 7,
      },
    })
  })

  test('has OpenAI’s defaults, and the rest of the context to fill', async () => {
    await completion({})
    const { maxTokens, prompt, sampling } = await lastRequest()
    expect(sampling).toEqual({
      temperature: 1,
      topP: 1,
      topK: 0,
      minP: 0,
      frequencyPenalty: 0,
      presencePenalty: 0,
      logitBias: [],
    })
    // The adapter's two prompt rows take their place in the context.
    expect(maxTokens).toBe(workerBackbone.contextLength - 2 - prompt.length)
  })

  test('with ignore_eos has no stop tokens', async () => {
    await completion({ ignore_eos: true })
    expect((await lastRequest()).stopTokens).toEqual([])
  })

  test('is the same for text parts as for their text, and for null as for nothing', async () => {
    await completion({ messages: [{ role: 'user', content: 'hello' }] })
    const { prompt } = await lastRequest()
    const parts = ['hel', 'lo'].map((text) => ({ type: 'text', text }))
    await completion({
      messages: [{ role: 'user', content: parts }],
      temperature: null,
      stop: null,
      stream: null,
      tools: null,
      response_format: { type: 'text' },
    })
    expect((await lastRequest()).prompt).toEqual(prompt)
  })
})

describe('where the prompt ends', () => {
  const messages = [
    { role: 'user', content: 'Count.' },
    { role: 'assistant', content: 'One, two,  ' },
  ]
  const text = async (body: object) => {
    const response = await edge.chat(tenant, { messages, ...body })
    expect(response.status).toBe(200)
    const calls = await stubs.calls()
    const { prompt } = GenerateRequest.parse(calls.at(-1)?.body)
    return prompt.flatMap((id) => (id < 256 ? [String.fromCharCode(id)] : ['|'])).join('')
  }

  test('continue_final_message has the answer go on where the last message stops', async () => {
    expect(await text({ continue_final_message: true })).toMatch(/assistant\nOne, two, {2}$/)
    expect(await text({ continue_final_message: true, add_generation_prompt: false })).toMatch(/two, {2}$/)
  })

  test('add_generation_prompt opens the answer, or does not', async () => {
    expect(await text({})).toMatch(/assistant\n$/)
    expect(await text({ add_generation_prompt: false })).toMatch(/One, two, {2}\|\n$/)
  })

  test.each([
    { messages, continue_final_message: true, add_generation_prompt: true },
    { messages: [{ role: 'assistant', content: ' ' }], continue_final_message: true },
  ])('%j is refused', async (body) => {
    const response = await edge.chat(tenant, body)
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      error: { message: expect.stringMatching(/continue_final_message/) },
    })
  })
})
