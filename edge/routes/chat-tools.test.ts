import OpenAI from 'openai'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ChatCompletion, ChatCompletionChunk } from '../../shared/api/chat-completions.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { readSse, stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { byteIds, tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'

/** Functions in `/v1/chat/completions`. The tiny model's template knows none, so its calls are plain JSON. */

const edge = new TestEdge()
let tenant: TestTenant
let client: OpenAI

const fetchFromEdge: typeof fetch = (url, init) => edge.fetch(new URL(String(url)).pathname, init)

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
  client = new OpenAI({ apiKey: tenant.key, baseURL: 'http://edge/v1', maxRetries: 0, fetch: fetchFromEdge })
})

const call = '{"name": "get_weather", "arguments": {"city": "Ulm"}}'
beforeEach(() => stubs.behave({ tokens: byteIds(call), reason: 'stop', isEachWritten: true }))

const parameters = {
  type: 'object',
  properties: { city: { type: 'string' } },
  required: ['city'],
  additionalProperties: false,
}
const weather = { name: 'get_weather', description: 'Tells the weather.', parameters }
const tools = [{ type: 'function' as const, function: weather }]
const strict = [{ type: 'function' as const, function: { ...weather, strict: true } }]
const ask = { model: 'tone', messages: [{ role: 'user' as const, content: 'Weather?' }], tools }

const lastRequest = async () => {
  const calls = (await stubs.calls()).filter(({ kind }) => kind === 'generate')
  return GenerateRequest.parse(calls.at(-1)?.body)
}
const merged = ['he', 'll', 'hell', 'hello', ' w', 'or', ' wor', ' world', 'ld']
const lastPrompt = async () => {
  const { prompt } = await lastRequest()
  return prompt.map((id) => merged[id - 256] ?? (id < 256 ? String.fromCharCode(id) : `<${id}>`)).join('')
}

describe('an answer that calls a function', () => {
  test('has the call and no text', async () => {
    const completion = await client.chat.completions.create(ask)
    ChatCompletion.parse(completion)
    expect(completion.choices).toMatchObject([
      {
        message: {
          content: null,
          tool_calls: [{ type: 'function', function: { name: 'get_weather', arguments: '{"city": "Ulm"}' } }],
        },
        finish_reason: 'tool_calls',
      },
    ])
    expect(completion.usage?.completion_tokens).toBe(call.length)
    expect(await lastPrompt()).toContain('"description":"Tells the weather."')
  })

  test('comes in OpenAI’s deltas: the name once, with an id, then arguments piece by piece', async () => {
    const response = await edge.chat(tenant, { ...ask, stream: true })
    const chunks = (await readSse(response))
      .filter((data) => data !== '[DONE]')
      .map((data) => ChatCompletionChunk.parse(JSON.parse(data)))
    const pieces = chunks.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? [])
    expect(pieces[0]).toEqual({
      index: 0,
      id: expect.stringMatching(/^call_/),
      type: 'function',
      function: { name: 'get_weather', arguments: '' },
    })
    const rest = pieces.slice(1)
    expect(rest.length).toBeGreaterThan(5)
    expect(rest.every((piece) => piece.id === undefined && piece.function.name === undefined)).toBe(true)
    expect(rest.map((piece) => piece.function.arguments).join('')).toBe('{"city": "Ulm"}')
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe('tool_calls')
  })

  test('is put together by the helper of the package', async () => {
    const { choices } = await client.chat.completions.stream(ask).finalChatCompletion()
    expect(choices[0]?.message.tool_calls).toMatchObject([{ function: { arguments: '{"city": "Ulm"}' } }])
  })

  test('is made once for one Idempotency-Key, ids included', async () => {
    const send = () => client.chat.completions.create(ask, { headers: { 'idempotency-key': 'one-call' } })
    const first = await send()
    expect(await send()).toEqual(first)
    expect((await stubs.calls()).length).toBe(1)
  })

  test('that is cut off says so', async () => {
    await stubs.behave({ tokens: byteIds(call.slice(0, -5)), reason: 'length' })
    const { choices } = await client.chat.completions.create(ask)
    expect(choices).toMatchObject([
      { finish_reason: 'length', message: { tool_calls: [{ function: { arguments: '{"city": "U' } }] } },
    ])
  })

  test('is told once, whole, when its node is lost in the middle of it', async () => {
    const [first] = stubs.preferredBy(tenant.adapter)
    await stubs.behaveAt(first, { tokens: byteIds(call), dieAfter: 30 })
    const { data, response } = await client.chat.completions.create(ask).withResponse()
    expect(data.choices[0]?.message.tool_calls).toMatchObject([
      { function: { name: 'get_weather', arguments: '{"city": "Ulm"}' } },
    ])
    expect(response.headers.get('x-quartet-retries')).toBe('1')
  })

  test('is not begun again in a stream whose node is lost before the first token', async () => {
    const [first] = stubs.preferredBy(tenant.adapter)
    await stubs.behaveAt(first, { tokens: byteIds(call), dieAfter: 0 })
    const fresh = new TestEdge()
    const response = await fresh.chat(tenant, {
      ...ask,
      tools: strict,
      tool_choice: 'required',
      stream: true,
    })
    const pieces = (await readSse(response))
      .filter((data) => data !== '[DONE]')
      .flatMap((data) => ChatCompletionChunk.parse(JSON.parse(data)).choices[0]?.delta.tool_calls ?? [])
    expect(pieces.filter(({ id }) => id !== undefined).length).toBe(1)
    expect(pieces.map((piece) => piece.function.arguments).join('')).toBe('{"city": "Ulm"}')
    // The grammar begins anew with the answer.
    const grammars = (await stubs.calls()).map(({ body }) => GenerateRequest.parse(body).grammar)
    expect(grammars.length).toBeGreaterThan(1)
    for (const grammar of grammars) expect(grammar).toEqual(grammars[0])
    expect(grammars[0]?.kind).toBe('composed')
  })
})

test('text beside calls and further choices keep their places', async () => {
  await stubs.behave({ tokens: byteIds('Just text.'), reason: 'stop' })
  const { choices } = await client.chat.completions.create({ ...ask, n: 2 })
  expect(
    choices.map(({ finish_reason, message }) => [message.content, message.tool_calls, finish_reason]),
  ).toEqual([
    ['Just text.', undefined, 'stop'],
    ['Just text.', undefined, 'stop'],
  ])
})

test('the conversation goes on with the result', async () => {
  const { choices } = await client.chat.completions.create(ask)
  const message = choices[0]?.message
  const [made] = message?.tool_calls ?? []
  if (message === undefined || made === undefined) throw new Error('the model calls')
  await stubs.behave({ tokens: byteIds('7 degrees.'), reason: 'stop' })
  const answer = await client.chat.completions.create({
    ...ask,
    messages: [...ask.messages, message, { role: 'tool', tool_call_id: made.id, content: '7' }],
  })
  expect(answer.choices[0]?.message.content).toBe('7 degrees.')
  expect(await lastPrompt()).toMatch(
    /assistant\n{"name": "get_weather", "arguments": {"city":"Ulm"}}<302>\n<301>user\nResult of the call call00000:\n7/,
  )
})

describe('tool_choice', () => {
  test('none tells the model of no function, and takes JSON for text', async () => {
    const { choices } = await client.chat.completions.create({ ...ask, tool_choice: 'none' })
    expect(choices[0]?.message).toMatchObject({ content: call })
    expect(await lastPrompt()).not.toContain('get_weather')
  })

  test('required, a named function and strict ones hold the answer to a grammar, auto alone does not', async () => {
    const grammarFor = async (body: object) => {
      await edge.chat(tenant, { ...ask, ...body })
      return (await lastRequest()).grammar
    }
    expect(await grammarFor({})).toBeUndefined()
    expect(await grammarFor({ tool_choice: 'required' })).toMatchObject({ kind: 'composed' })
    const other = { type: 'function', function: { name: 'other' } }
    const named = await grammarFor({
      tools: [...tools, other],
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
    })
    expect(JSON.stringify(named)).not.toContain('other')
    const free = await grammarFor({ tools: strict })
    expect(JSON.stringify(free)).toContain('TagDispatch')
    const form = await grammarFor({ response_format: { type: 'json_object' } })
    expect(form).toMatchObject({ parts: [{ kind: 'json_schema' }, { kind: 'json_schema' }] })
  })
})

const badCall = (text: string) => [
  {
    role: 'assistant',
    content: null,
    tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: text } }],
  },
]
const withSchema = (schema: object, more: object = {}) => ({
  tools: [{ type: 'function', function: { name: 'f', parameters: schema, ...more } }],
})

test.each<[name: string, body: object, param: string, message: RegExp]>([
  [
    'a tool of another kind',
    { tools: [{ type: 'custom', custom: {} }] },
    'tools[0].type',
    /must be "function"/,
  ],
  [
    'a name that cannot be',
    { tools: [{ type: 'function', function: { name: 'a b' } }] },
    'tools[0].function.name',
    /letters/,
  ],
  [
    'a tool named like another',
    { tools: [...tools, ...tools] },
    'tools[1].function.name',
    /tools\[0\].function.name, too/,
  ],
  ['129 tools', { tools: Array.from({ length: 129 }, () => tools[0]) }, 'tools', /at most 128/],
  [
    'tools that are too long together',
    withSchema({ description: 'x'.repeat(300_000) }),
    'tools',
    /262144 characters/,
  ],
  ['a choice without tools', { tools: [], tool_choice: 'required' }, 'tool_choice', /needs tools/],
  [
    'a choice of no tool',
    { tool_choice: { type: 'function', function: { name: 'g' } } },
    'tool_choice',
    /"g".*not among/,
  ],
  ['a choice that is none', { tool_choice: 'maybe' }, 'tool_choice', /must be none, auto/],
  ['functions of old', { functions: [{ name: 'f' }] }, 'functions', /use tools/],
  [
    'arguments that are no JSON',
    { messages: badCall('{"city"') },
    'messages[0].tool_calls[0].function.arguments',
    /JSON object/,
  ],
  [
    'arguments that are no object',
    { messages: badCall('[1]') },
    'messages[0].tool_calls[0].function.arguments',
    /JSON object/,
  ],
  [
    'a result of no call',
    { messages: [{ role: 'tool', tool_call_id: 'x', content: '1' }] },
    'messages[0].tool_call_id',
    /"x".*send the assistant's message/,
  ],
  [
    'an assistant that says nothing',
    { messages: [{ role: 'assistant', content: null }] },
    'messages[0].content',
    /no tool_calls/,
  ],
  [
    'a strict schema that is not strict',
    withSchema({ type: 'object', properties: { a: {} } }, { strict: true }),
    'tools[0].function.parameters.additionalProperties',
    /strict: must be false/,
  ],
  [
    'a cycle of references',
    {
      ...withSchema({ type: 'object', properties: { a: { $ref: '#/properties/a' } } }),
      tool_choice: 'required',
    },
    'tools[0].function.parameters.properties.a.$ref',
    /itself/,
  ],
  [
    '10,000 values',
    {
      ...withSchema({
        type: 'object',
        properties: { a: { enum: Array.from({ length: 10_000 }, (_, at) => at) } },
      }),
      tool_choice: 'required',
    },
    'tools[0].function.parameters.properties.a.enum',
    /more than 1000/,
  ],
  [
    'arguments that are a list',
    { ...withSchema({ type: 'array' }), tool_choice: 'required' },
    'tools[0].function.parameters.type',
    /must be object/,
  ],
  ['min_tokens with a grammar', { tool_choice: 'required', min_tokens: 3 }, 'min_tokens', /does not go with/],
])('%s is refused by name, before a node is touched', async (_name, body, param, message) => {
  const response = await edge.chat(tenant, { ...ask, ...body })
  expect([response.status, await response.json()]).toMatchObject([
    400,
    { error: { param, message: expect.stringMatching(message) } },
  ])
  expect((await stubs.calls()).length).toBe(0)
})

test.each([
  ['Llama 3’s JSON', '{"name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}', 200],
  [
    'Python',
    '[{{ f.name }}({% for key, value in f.arguments | items %}{{ key }}={{ value | tojson }}{% endfor %})]',
    400,
  ],
] as const)(
  'a strict function is held to its schema where the model writes calls as %s, unless no grammar can',
  async (_name, written, status) => {
    const template = `{% for m in messages %}{% if m.tool_calls is defined %}{% for c in m.tool_calls %}{% set f = c.function %}${written}{% endfor %}{% else %}{{ m.content }}{% endif %}{% endfor %}{{ tools | tojson }}`
    const own = new TestEdge()
    await own.admin('PUT', '/backbones/tiny', {
      backbone: { ...workerBackbone, chat: { template } },
      tokenizer: tinyTokenizer,
    })
    try {
      const answer = await own.chat(tenant, { ...ask, model: 'tiny', tools: strict })
      expect(answer.status).toBe(status)
      if (status === 200) expect((await lastRequest()).grammar?.kind).toBe('composed')
      else expect(await answer.json()).toMatchObject({ error: { param: 'tools[0].function.strict' } })
    } finally {
      await edge.seedBackbone()
    }
  },
)
