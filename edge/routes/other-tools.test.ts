import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { MessageObject } from '../../shared/api/messages.ts'
import { ResponseObject } from '../../shared/api/responses.ts'
import { BackboneSlug } from '../../shared/ids.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { byteIds, tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'

/** Functions in `/v1/responses` and `/v1/messages`, through the official packages. */

const edge = new TestEdge()
let tenant: TestTenant
let openai: OpenAI
let anthropic: Anthropic

const fetchFromEdge: typeof fetch = (url, init) => edge.fetch(new URL(String(url)).pathname, init)

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
  const options = { apiKey: tenant.key, maxRetries: 0, fetch: fetchFromEdge }
  openai = new OpenAI({ ...options, baseURL: 'http://edge/v1' })
  anthropic = new Anthropic({ ...options, baseURL: 'http://edge' })
})

const call = '{"name": "get_weather", "arguments": {"city": "Ulm"}}'
beforeEach(() => stubs.behave({ tokens: byteIds(call), reason: 'stop', isEachWritten: true }))

const parameters = { type: 'object' as const, properties: { city: { type: 'string' } }, required: ['city'] }
const lastRequest = async () => {
  const calls = (await stubs.calls()).filter(({ kind }) => kind === 'generate')
  return GenerateRequest.parse(calls.at(-1)?.body)
}
const answers = (text: string) => stubs.behave({ tokens: byteIds(text), reason: 'stop' })

describe('/v1/responses', () => {
  const ask = {
    model: 'tone',
    input: 'Weather?',
    tools: [{ type: 'function' as const, name: 'get_weather', parameters, strict: false }],
  }
  const made = {
    type: 'function_call',
    status: 'completed',
    name: 'get_weather',
    arguments: '{"city": "Ulm"}',
    call_id: expect.stringMatching(/^call_/),
  }

  test('answers with a call, which a later response goes on from', async () => {
    const first = await openai.responses.create(ask)
    expect(ResponseObject.parse(first).output).toMatchObject([made])
    const [item] = first.output
    if (item?.type !== 'function_call') throw new Error('it is a call')
    await answers('7 degrees.')
    const second = await openai.responses.create({
      ...ask,
      previous_response_id: first.id,
      input: [{ type: 'function_call_output', call_id: item.call_id, output: '7' }],
    })
    expect(second.output_text).toBe('7 degrees.')
    const items = await openai.responses.inputItems.list(second.id, { order: 'asc' })
    expect(items.data).toMatchObject([{ type: 'function_call_output', call_id: item.call_id, output: '7' }])
    const itself = await openai.responses.create({
      ...ask,
      input: [
        { role: 'user', content: 'Weather?' },
        item,
        { type: 'function_call_output', call_id: item.call_id, output: '7' },
      ],
    })
    expect(itself.output_text).toBe('7 degrees.')
  })

  test('streams a call in events that number from 0, behind text in an item of its own', async () => {
    await stubs.behave({ tokens: byteIds(call), reason: 'stop', isEachWritten: true })
    const types: string[] = []
    let given = ''
    let count = 0
    for await (const event of await openai.responses.create({ ...ask, stream: true })) {
      expect(event.sequence_number).toBe(count++)
      if (event.type === 'response.function_call_arguments.delta') given += event.delta
      else types.push(event.type)
      if (event.type === 'response.completed') expect(event.response.output).toMatchObject([made])
    }
    expect(given).toBe('{"city": "Ulm"}')
    expect(types).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.function_call_arguments.done',
      'response.output_item.done',
      'response.completed',
    ])
  })

  test('text alone is a message, whole and as events', async () => {
    await answers('Just text.')
    expect((await openai.responses.create(ask)).output_text).toBe('Just text.')
    const streamed = await openai.responses.stream(ask).finalResponse()
    expect(streamed.output_text).toBe('Just text.')
  })

  test.each(['Hello <to', `Sure. <tool_call>\n${call}\n</tool_call>`, `${call} `, `Seen: 海 `])(
    'tells the log-probability of each of a text’s tokens once, whole and as events: %j',
    async (text) => {
      await stubs.behave({ tokens: byteIds(text), reason: 'stop', logprob: -0.5, isEachWritten: true })
      const told = { ...ask, include: ['message.output_text.logprobs' as const] }
      const whole = await openai.responses.create(told)
      const streamed = await openai.responses.stream({ ...told, stream: true }).finalResponse()
      const tokensIn = ({ output }: Pick<typeof whole, 'output'>) =>
        output.flatMap((item) =>
          item.type !== 'message'
            ? []
            : item.content.flatMap((part) =>
                part.type !== 'output_text'
                  ? []
                  : {
                      text: part.text,
                      bytes: (part.logprobs ?? []).flatMap(({ bytes }) => bytes),
                    },
              ),
        )
      const messages = tokensIn(whole)
      expect(tokensIn(streamed)).toEqual(messages)
      for (const message of messages) {
        const spelled = new TextDecoder().decode(Uint8Array.from(message.bytes))
        expect(spelled.startsWith(message.text)).toBe(true)
        expect(spelled).toBe(text.slice(0, spelled.length))
      }
    },
  )

  test('a named function holds the answer to a grammar, and the choice is told', async () => {
    const response = await openai.responses.create({
      ...ask,
      tool_choice: { type: 'function', name: 'get_weather' },
    })
    expect(response.tool_choice).toEqual({ type: 'function', name: 'get_weather' })
    expect((await lastRequest()).grammar?.kind).toBe('composed')
  })

  test.each([
    ['input[0].call_id', { input: [{ type: 'function_call_output', call_id: 'x', output: '' }] }],
    ['input[0].arguments', { input: [{ type: 'function_call', call_id: 'x', name: 'f', arguments: '{' }] }],
    ['tools[0].type', { tools: [{ type: 'web_search' }] }],
    ['tool_choice', { tool_choice: { type: 'function', name: 'f' } }],
  ])('%s is refused by name', async (param, body) => {
    const response = await edge.post('/v1/responses', { key: tenant.key, body: { ...ask, ...body } })
    expect([response.status, await response.json()]).toMatchObject([400, { error: { param } }])
  })
})

describe('/v1/messages', () => {
  const ask = {
    model: 'tone',
    max_tokens: 100,
    messages: [{ role: 'user' as const, content: 'Weather?' }],
    tools: [{ name: 'get_weather', input_schema: parameters }],
  }
  const made = {
    type: 'tool_use',
    id: expect.stringMatching(/^toolu_/),
    name: 'get_weather',
    input: { city: 'Ulm' },
  }

  test('answers with a call, and goes on with its result', async () => {
    const message = await anthropic.messages.create(ask)
    MessageObject.parse(message)
    expect(message).toMatchObject({ content: [made], stop_reason: 'tool_use' })
    const [block] = message.content
    if (block?.type !== 'tool_use') throw new Error('it is a call')
    await answers('7 degrees.')
    const { id: tool_use_id } = block
    const answer = await anthropic.messages.create({
      ...ask,
      max_tokens: 20,
      messages: [
        ...ask.messages,
        { role: 'assistant', content: message.content },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id, content: '7' },
            { type: 'text', text: 'So?' },
          ],
        },
      ],
    })
    expect(answer.content).toMatchObject([{ type: 'text', text: '7 degrees.' }])
  })

  test('is put together from events by the helper of the package', async () => {
    const message = await anthropic.messages.stream(ask).finalMessage()
    expect(message).toMatchObject({ content: [made], stop_reason: 'tool_use' })
    await answers('Just text.')
    const text = await anthropic.messages.stream(ask).finalMessage()
    expect(text).toMatchObject({ content: [{ text: 'Just text.' }], stop_reason: 'end_turn' })
  })

  test('a choice and a form hold the answer to a grammar', async () => {
    await anthropic.messages.create({ ...ask, tool_choice: { type: 'any' } })
    expect((await lastRequest()).grammar?.kind).toBe('composed')
    const format = { type: 'json_schema', schema: { type: 'object', properties: {} } }
    const { tools, ...plain } = ask
    await edge.post('/v1/messages', { key: tenant.key, body: { ...plain, output_config: { format } } })
    expect((await lastRequest()).grammar?.kind).toBe('json_schema')
    expect(tools.length).toBe(1)
  })

  test('count_tokens counts the functions, too', async () => {
    const { max_tokens, ...counted } = ask
    const { input_tokens } = await anthropic.messages.countTokens(counted)
    const { usage } = await anthropic.messages.create({ ...ask, max_tokens })
    expect(usage.input_tokens).toBe(input_tokens)
  })

  test.each<[status: number, type: string, param: string | null, body: object]>([
    [
      400,
      'invalid_request_error',
      'messages[0].content[0].tool_use_id',
      { messages: [{ role: 'user', content: [{ type: 'tool_result', tool_use_id: 'x' }] }] },
    ],
    [400, 'invalid_request_error', 'tools[1].name', { tools: [ask.tools[0], ask.tools[0]] }],
    [400, 'invalid_request_error', 'tools[0].type', { tools: [{ type: 'computer_20250124', name: 'c' }] }],
    [
      400,
      'invalid_request_error',
      'output_config.format.schema.oneOf',
      { output_config: { format: { type: 'json_schema', schema: { oneOf: [] } } } },
    ],
    [404, 'not_found_error', 'model', { model: 'nobody' }],
  ])('errors have Anthropic’s shape: %d %s %s', async (status, type, param, body) => {
    const response = await edge.post('/v1/messages', { key: tenant.key, body: { ...ask, ...body } })
    expect([response.status, await response.json()]).toMatchObject([
      status,
      { type: 'error', error: { type, param }, request_id: response.headers.get('x-request-id') },
    ])
    const thrown = await anthropic.messages
      .create({ ...ask, model: 'nobody' })
      .catch((error: unknown) => error)
    expect(thrown).toBeInstanceOf(Anthropic.NotFoundError)
  })
})

describe('/tokenize and /detokenize', () => {
  const send = async (path: string, body: object) => {
    const response = await edge.post(path, { key: tenant.key, body: { model: 'tone', ...body } })
    return { status: response.status, body: await response.json<Record<string, unknown>>() }
  }

  test('tell the tokens of a text and of a conversation as a completion reads them, and the way back', async () => {
    const text = await send('/tokenize', { prompt: 'hello world', return_token_strs: true })
    expect(text.body).toEqual({
      count: 2,
      max_model_len: 512,
      tokens: [259, 263],
      token_strs: ['hello', ' world'],
    })
    expect((await send('/detokenize', { tokens: [259, 263, 302] })).body).toEqual({
      prompt: 'hello world<|im_end|>',
    })
    expect((await stubs.calls()).length).toBe(0)
    const messages = [{ role: 'user', content: 'hello' }]
    const { body } = await send('/tokenize', { messages })
    await edge.chat(tenant, { messages })
    expect(body.tokens).toEqual((await lastRequest()).prompt)
  })

  test('need no model where all have one backbone, whose template and special tokens are told', async () => {
    const own = async (path: string, body?: object) => {
      const headers = { authorization: `Bearer ${tenant.key}` }
      const sent = body === undefined ? { headers } : { headers, method: 'POST', body: JSON.stringify(body) }
      const response = await new TestEdge().fetch(path, sent)
      return { status: response.status, body: await response.json() }
    }
    const text = { prompt: 'hello world', add_special_tokens: false }
    expect((await own('/tokenize', text)).body).toMatchObject({ tokens: [259, 263] })
    expect((await own('/detokenize', { tokens: [259] })).body).toEqual({ prompt: 'hello' })
    expect((await own('/tokenizer_info')).body).toMatchObject({
      backbone: 'tiny',
      eos_token: '<|im_end|>',
      chat_template: expect.stringContaining('messages'),
    })
    const other = { ...workerBackbone, slug: BackboneSlug.parse('other') }
    await edge.admin('PUT', '/backbones/other', { backbone: other, tokenizer: tinyTokenizer })
    expect(await own('/tokenize', text)).toMatchObject({
      status: 400,
      body: { error: { param: 'model', message: expect.stringMatching(/several backbones/) } },
    })
  })

  test('refuse by name, and need a key', async () => {
    expect(await send('/detokenize', { tokens: [5, 99_999] })).toMatchObject({
      status: 400,
      body: { error: { param: 'tokens[1]' } },
    })
    expect(await send('/tokenize', {})).toMatchObject({
      status: 400,
      body: { error: { message: expect.stringMatching(/prompt: is required/) } },
    })
    expect((await edge.post('/tokenize', { key: 'wrong', body: {} })).status).toBe(401)
  })
})
