import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import OpenAI from 'openai'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ResponseEvent, ResponseObject } from '../../shared/api/responses.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'
import { keptMs } from '../responses/tenant-responses.ts'

/** `/v1/responses` through the official `openai` package, unmodified. */

const edge = new TestEdge()
let tenant: TestTenant
let other: TestTenant
let client: OpenAI

const clientOf = ({ key }: TestTenant) =>
  new OpenAI({
    apiKey: key,
    baseURL: 'http://edge/v1',
    maxRetries: 0,
    dangerouslyAllowBrowser: true,
    fetch: (url, init) => edge.fetch(new URL(String(url)).pathname + new URL(String(url)).search, init),
  })

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
  other = await edge.seedTenant()
  client = clientOf(tenant)
})
beforeEach(() => stubs.behave({ tokens: byteIds('Hi there'), reason: 'stop', logprob: -0.5 }))

const lastPrompt = async () => {
  const calls = (await stubs.calls()).filter(({ kind }) => kind === 'generate')
  const { prompt } = GenerateRequest.parse(calls.at(-1)?.body)
  return prompt.map((id) => (id < 256 ? String.fromCharCode(id) : `<${id}>`)).join('')
}
const missing = { status: 404, code: 'not_found' }

describe('a response', () => {
  test('has the text, its status and what was used', async () => {
    const response = await client.responses.create({
      model: 'tone',
      input: 'abc',
      instructions: 'Be brief.',
      metadata: { run: '7' },
    })
    ResponseObject.parse(response)
    expect(response.output_text).toBe('Hi there')
    expect(response).toMatchObject({
      object: 'response',
      status: 'completed',
      incomplete_details: null,
      instructions: 'Be brief.',
      metadata: { run: '7' },
      store: true,
      usage: { output_tokens: 8, output_tokens_details: { reasoning_tokens: 0 } },
    })
    expect(await lastPrompt()).toMatch(/system\nBe brief\.<302>\n<301>user\nabc<302>\n<301>assistant\n$/)
  })

  test('that ran out of tokens is incomplete', async () => {
    await stubs.behave({ tokens: byteIds('Hi'), reason: 'length' })
    const response = await client.responses.create({ model: 'tone', input: 'abc', max_output_tokens: 2 })
    expect(response).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      output: [{ status: 'incomplete' }],
    })
  })

  test('tells log-probabilities where they are included', async () => {
    const response = await client.responses.create({
      model: 'tone',
      input: 'abc',
      include: ['message.output_text.logprobs'],
      top_logprobs: 1,
    })
    const [message] = ResponseObject.parse(response).output
    expect(message?.type === 'message' && message.content[0]?.logprobs.length).toBe(8)
  })

  test('says which node and adapter it came from, and runs once for one Idempotency-Key', async () => {
    const ask = () =>
      edge.fetch('/v1/responses', {
        method: 'POST',
        headers: { authorization: `Bearer ${tenant.key}`, 'idempotency-key': 'one-response' },
        body: JSON.stringify({ model: 'tone', input: 'abc' }),
      })
    const first = await ask()
    expect(first.headers.get('x-quartet-adapter')).toBe(tenant.adapter.digest)
    expect(first.headers.get('x-quartet-node')).toMatch(/stub/)
    expect(first.headers.get('x-quartet-ignored')).toBeNull()
    const again = await ask()
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(await again.json()).toEqual(await first.json())
    expect((await stubs.calls()).filter(({ kind }) => kind === 'generate').length).toBe(1)
  })

  test('begins anew on another node when one is lost, and is charged', async () => {
    const [first] = stubs.preferredBy(tenant.adapter)
    await stubs.behaveAt(first, { tokens: byteIds('Hi there'), dieAfter: 3 })
    const response = await edge.post('/v1/responses', {
      key: tenant.key,
      body: { model: 'tone', input: 'a' },
    })
    expect(response.status).toBe(200)
    expect(response.headers.get('x-quartet-retries')).toBe('1')
    expect(ResponseObject.parse(await response.json()).output).toMatchObject([
      { content: [{ text: 'Hi there' }] },
    ])
  })
})

describe('a stream', () => {
  test('has its events in order, numbered, and ends with the whole response', async () => {
    await stubs.behave({ tokens: byteIds('Hi!'), reason: 'stop', isEachWritten: true })
    const stream = client.responses.stream({ model: 'tone', input: 'abc' })
    const events: ResponseEvent[] = []
    for await (const event of stream) events.push(ResponseEvent.parse(event))
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual([...events.keys()])
    const types = events.map(({ type }) => type.replace('response.', ''))
    expect(types.filter((type) => type !== 'output_text.delta')).toEqual([
      'created',
      'in_progress',
      'output_item.added',
      'content_part.added',
      'output_text.done',
      'content_part.done',
      'output_item.done',
      'completed',
    ])
    const final = await stream.finalResponse()
    expect(final.output_text).toBe('Hi!')
    expect(final.usage?.output_tokens).toBe(3)
    const kept = await client.responses.retrieve(final.id)
    expect([kept.output_text, kept.status, kept.usage]).toEqual(['Hi!', 'completed', final.usage])
  })

  test('that breaks off ends as failed, and is not stored', async () => {
    await stubs.behave({ tokens: byteIds('Hello'), dieAfter: 2, isEachWritten: true })
    const final = await client.responses.stream({ model: 'tone', input: 'abc' }).finalResponse()
    expect(final).toMatchObject({ status: 'failed', error: { code: 'node_error' } })
    await expect(client.responses.retrieve(final.id)).rejects.toMatchObject(missing)
  })
})

describe('a stored response', () => {
  const stored = () => client.responses.create({ model: 'tone', input: 'My name is Ann.' })

  test('is followed by the next one, with all that was said and without its instructions', async () => {
    const first = await client.responses.create({ model: 'tone', input: 'one', instructions: 'Secret.' })
    const second = await client.responses.create({
      model: 'tone',
      previous_response_id: first.id,
      input: [{ role: 'user', content: [{ type: 'input_text', text: 'two' }] }],
    })
    expect(await lastPrompt()).toMatch(
      /user\none<302>\n<301>assistant\nHi t<256>re<302>\n<301>user\ntwo<302>\n<301>assistant\n$/,
    )
    expect(await lastPrompt()).not.toContain('Secret')
    const items = await client.responses.inputItems.list(second.id)
    expect(items.data).toMatchObject([{ role: 'user', content: [{ type: 'input_text', text: 'two' }] }])
  })

  test('can be shown and deleted', async () => {
    const { id, output } = await stored()
    expect(await client.responses.retrieve(id)).toMatchObject({ id, output })
    await client.responses.delete(id)
    await expect(client.responses.retrieve(id)).rejects.toMatchObject(missing)
    await expect(client.responses.delete(id)).rejects.toMatchObject(missing)
  })

  test('lists its input in either order, in pages', async () => {
    const { id } = await client.responses.create({
      model: 'tone',
      input: ['a', 'b', 'c'].map((content) => ({ role: 'user' as const, content })),
    })
    const texts: string[] = []
    for await (const item of client.responses.inputItems.list(id, { order: 'asc', limit: 2 }))
      if (item.type === 'message') texts.push(JSON.stringify(item.content))
    expect(texts.map((text) => /"text":"(.)"/.exec(text)?.[1])).toEqual(['a', 'b', 'c'])
  })

  test('of another tenant is none', async () => {
    const { id } = await stored()
    const stranger = clientOf(other)
    await expect(stranger.responses.retrieve(id)).rejects.toMatchObject(missing)
    await expect(stranger.responses.delete(id)).rejects.toMatchObject(missing)
    await expect(stranger.responses.inputItems.list(id)).rejects.toMatchObject(missing)
    await expect(
      stranger.responses.create({ model: 'tone', input: 'x', previous_response_id: id }),
    ).rejects.toMatchObject({ ...missing, param: 'previous_response_id' })
    expect(await client.responses.retrieve(id)).toMatchObject({ id })
  })

  test('past its time is none', async () => {
    const { id } = await stored()
    const record = await edge.admin('GET', `/tenants/${tenant.id}`)
    const { createdAt } = await record.json<{ createdAt: number }>()
    const stub = env.RESPONSES.get(env.RESPONSES.idFromName(`${tenant.id} ${createdAt}`))
    await runInDurableObject(stub, (_object, { storage }) => {
      storage.sql.exec('UPDATE response SET at = at - ? WHERE id = ?', keptMs, id)
    })
    await expect(client.responses.retrieve(id)).rejects.toMatchObject(missing)
    await expect(
      client.responses.create({ model: 'tone', input: 'x', previous_response_id: id }),
    ).rejects.toMatchObject(missing)
    await runInDurableObject(stub, async (object, { storage }) => {
      await object.alarm()
      const left = storage.sql.exec('SELECT id FROM response WHERE id = ?', id).toArray()
      expect(left).toEqual([])
    })
  })

  test('is not made with store: false', async () => {
    const { id } = await client.responses.create({ model: 'tone', input: 'x', store: false })
    await expect(client.responses.retrieve(id)).rejects.toMatchObject(missing)
  })
})

test('truncation: auto leaves the oldest messages out, and refuses without', async () => {
  const input = Array.from({ length: 40 }, (_, at) => ({
    role: at % 2 === 0 ? ('user' as const) : ('assistant' as const),
    content: `${at}: ${'x'.repeat(30)}`,
  }))
  const ask = { model: 'tone', input: [...input, { role: 'user' as const, content: 'last' }], store: false }
  await expect(client.responses.create(ask)).rejects.toMatchObject({
    code: 'context_length_exceeded',
    param: 'input',
  })
  await client.responses.create({ ...ask, truncation: 'auto', instructions: 'Keep me.' })
  expect(await lastPrompt()).toMatch(/Keep me\..*39: x+<302>\n<301>user\nlast<302>/s)
  expect(await lastPrompt()).not.toContain('0: x'.padStart(5, '\n'))
})

test('text.format gives the answer a form, and its errors name the field', async () => {
  const format = {
    type: 'json_schema',
    name: 'order',
    strict: true,
    schema: {
      type: 'object',
      properties: { item: { type: 'string' } },
      required: ['item'],
      additionalProperties: false,
    },
  } as const
  const { text } = await client.responses.create({ model: 'tone', input: 'x', text: { format } })
  expect(text?.format).toMatchObject({ type: 'json_schema', name: 'order' })
  const calls = (await stubs.calls()).filter(({ kind }) => kind === 'generate')
  expect(GenerateRequest.parse(calls.at(-1)?.body).grammar).toMatchObject({ kind: 'json_schema' })
  const wrong = { ...format, schema: { type: 'object', oneOf: [] } }
  await expect(
    client.responses.create({ model: 'tone', input: 'x', text: { format: wrong } }),
  ).rejects.toMatchObject({ status: 400, param: expect.stringMatching(/^text\.format\.schema/) })
})

test.each([
  ['background', { background: true }],
  ['conversation', { conversation: 'conv_1' }],
  [
    'input[0].content[0].type',
    { input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'x' }] }] },
  ],
])('%s is refused by name', async (param, body) => {
  const response = await edge.post('/v1/responses', {
    key: tenant.key,
    body: { model: 'tone', input: 'x', ...body },
  })
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ error: { param } })
})
