import Anthropic from '@anthropic-ai/sdk'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { MessageObject } from '../../shared/api/messages.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

/** `/v1/messages` through the official `@anthropic-ai/sdk`, unmodified. */

const edge = new TestEdge()
let tenant: TestTenant
let client: Anthropic

const fetchFromEdge: typeof fetch = (url, init) => edge.fetch(new URL(String(url)).pathname, init)

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
  client = new Anthropic({ apiKey: tenant.key, baseURL: 'http://edge', maxRetries: 0, fetch: fetchFromEdge })
})
beforeEach(() => stubs.behave({ tokens: byteIds('Hi you'), reason: 'stop' }))

const ask = {
  model: 'tone',
  max_tokens: 100,
  messages: [{ role: 'user', content: 'abc' }],
} satisfies Anthropic.MessageCreateParamsNonStreaming

const lastRequest = async () => {
  const calls = (await stubs.calls()).filter(({ kind }) => kind === 'generate')
  return GenerateRequest.parse(calls.at(-1)?.body)
}
const lastPrompt = async () => {
  const { prompt } = await lastRequest()
  return prompt.map((id) => (id < 256 ? String.fromCharCode(id) : `<${id}>`)).join('')
}

describe('a message', () => {
  test('has the text, why it stopped and what was used', async () => {
    const message = await client.messages.create({ ...ask, system: [{ type: 'text', text: 'Be brief.' }] })
    MessageObject.parse(message)
    expect(message).toMatchObject({
      type: 'message',
      role: 'assistant',
      content: [{ type: 'text', text: 'Hi you' }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: { output_tokens: 6, input_tokens: (await lastRequest()).prompt.length },
    })
    expect(await lastPrompt()).toMatch(/system\nBe brief\.<302>\n<301>user\nabc<302>\n<301>assistant\n$/)
  })

  test('says which stop sequence ended it', async () => {
    const message = await client.messages.create({ ...ask, stop_sequences: ['zz', ' y'] })
    expect(message).toMatchObject({
      content: [{ text: 'Hi' }],
      stop_reason: 'stop_sequence',
      stop_sequence: ' y',
    })
  })

  test('that ran out of tokens says so', async () => {
    await stubs.behave({ tokens: byteIds('Hi'), reason: 'length' })
    expect(await client.messages.create({ ...ask, max_tokens: 2 })).toMatchObject({
      stop_reason: 'max_tokens',
    })
  })

  test('goes on with what the assistant is made to begin with', async () => {
    const messages: Anthropic.MessageParam[] = [...ask.messages, { role: 'assistant', content: 'One,' }]
    await client.messages.create({ ...ask, messages })
    expect(await lastPrompt()).toMatch(/assistant\nOne,$/)
  })

  test('comes with the headers of every generation, by either way to send a key, once for one Idempotency-Key', async () => {
    const send = (headers: Record<string, string>) =>
      edge.fetch('/v1/messages', {
        method: 'POST',
        headers: { ...headers, 'idempotency-key': 'one-message' },
        body: JSON.stringify(ask),
      })
    const first = await send({ 'x-api-key': tenant.key })
    expect(first.headers.get('x-quartet-adapter')).toBe(tenant.adapter.digest)
    const again = await send({ authorization: `Bearer ${tenant.key}` })
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(await again.json()).toEqual(await first.json())
    expect((await send({ 'x-api-key': 'qk_wrong' })).status).toBe(401)
  })

  test('begins anew on another node when one is lost', async () => {
    const [first] = stubs.preferredBy(tenant.adapter)
    await stubs.behaveAt(first, { tokens: byteIds('Hi you'), dieAfter: 3 })
    const { data, response } = await client.messages.create(ask).withResponse()
    expect(data.content).toMatchObject([{ text: 'Hi you' }])
    expect(response.headers.get('x-quartet-retries')).toBe('1')
  })
})

describe('a stream', () => {
  test('has its events in order', async () => {
    await stubs.behave({ tokens: byteIds('Hi!'), reason: 'stop', isEachWritten: true })
    const types: string[] = []
    let text = ''
    for await (const event of await client.messages.create({ ...ask, stream: true })) {
      if (event.type !== 'content_block_delta') types.push(event.type)
      else if (event.delta.type === 'text_delta') text += event.delta.text
    }
    expect(text).toBe('Hi!')
    expect(types).toEqual([
      'message_start',
      'content_block_start',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ])
  })

  test('is put together by the helper of the package', async () => {
    const message = await client.messages.stream({ ...ask, stop_sequences: [' y'] }).finalMessage()
    expect(message).toMatchObject({
      content: [{ type: 'text', text: 'Hi' }],
      stop_reason: 'stop_sequence',
      stop_sequence: ' y',
    })
    expect(message.usage.output_tokens).toBe(4)
  })

  test('that breaks off throws in the client', async () => {
    await stubs.behave({ tokens: byteIds('Hello'), dieAfter: 2, isEachWritten: true })
    await expect(client.messages.stream(ask).finalMessage()).rejects.toBeInstanceOf(Anthropic.APIError)
  })
})

test('count_tokens counts what a message would read, and touches no node', async () => {
  const { messages, model } = ask
  const { input_tokens } = await client.messages.countTokens({ model, messages, system: 'Be brief.' })
  expect((await stubs.calls()).length).toBe(0)
  const message = await client.messages.create({ ...ask, system: 'Be brief.' })
  expect(message.usage.input_tokens).toBe(input_tokens)
})

test.each([
  ['max_tokens', { max_tokens: undefined }],
  ['tools[0].input_schema', { tools: [{ name: 'f' }] }],
  ['stop', { stop: ['x'] }],
  ['messages[0].role', { messages: [{ role: 'system', content: 'x' }] }],
  ['messages[0].content[0].type', { messages: [{ role: 'user', content: [{ type: 'image' }] }] }],
])('%s is refused by name', async (param, body) => {
  const response = await edge.post('/v1/messages', { key: tenant.key, body: { ...ask, ...body } })
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ error: { param } })
})
