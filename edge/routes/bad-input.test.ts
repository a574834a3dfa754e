import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { mintApiKey } from '../auth/api-key.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
})
beforeEach(() => stubs.behave({ tokens: [97] }))

async function expectError(
  response: Response,
  expected: { status: number; code: string; param?: string | null },
) {
  const body: { error: { message: string; type: string; param: string | null; code: string } } =
    await response.json()
  expect({ status: response.status, ...body.error }).toMatchObject(expected)
  expect(Object.keys(body.error).sort()).toEqual(['code', 'message', 'param', 'type'])
  expect(response.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
  return body.error.message
}

const messages = (...contents: unknown[]) => ({
  messages: contents.map((content) => ({ role: 'user', content })),
})

describe('a chat request is refused with the field and the reason, before a node is touched:', () => {
  const cases: [name: string, body: object, code: string, param: string | null, message?: RegExp][] = [
    ['no messages', { messages: [] }, 'invalid_request', 'messages', /at least one/],
    ['messages missing', { messages: undefined }, 'invalid_request', 'messages', /is required/],
    ['a message that is no object', { messages: ['hi'] }, 'invalid_request', 'messages[0]'],
    [
      'an unknown role',
      { messages: [{ role: 'robot', content: 'x' }] },
      'invalid_request',
      'messages[0].role',
      /system, developer, user, assistant or tool/,
    ],
    [
      'content missing',
      { messages: [{ role: 'user' }] },
      'invalid_request',
      'messages[0].content',
      /must be a string/,
    ],
    ['content of a wrong type', messages(5), 'invalid_request', 'messages[0].content'],
    [
      'an image',
      messages('x', [
        { type: 'text', text: 'a' },
        { type: 'image_url', image_url: { url: 'http://x' } },
      ]),
      'invalid_request',
      'messages[1].content[1].type',
      /images/,
    ],
    ['a lone surrogate', messages('a\ud800b'), 'invalid_request', 'messages[0].content', /surrogate/],
    [
      'a lone surrogate in a part',
      messages([{ type: 'text', text: '\udc00' }]),
      'invalid_request',
      'messages[0].content[0].text',
      /surrogate/,
    ],
    ['a lone surrogate in a stop string', { stop: ['\ud800'] }, 'invalid_request', 'stop[0]', /surrogate/],
    [
      'tool calls',
      { messages: [{ role: 'assistant', content: 'x', tool_calls: [{ id: 'a' }] }] },
      'invalid_request',
      'messages[0].tool_calls[0].function',
    ],
    [
      'a temperature out of range',
      { temperature: 2.1 },
      'invalid_request',
      'temperature',
      /^temperature: must be from 0 to 2$/,
    ],
    [
      'a temperature that is text',
      { temperature: 'hot' },
      'invalid_request',
      'temperature',
      /must be a number/,
    ],
    ['top_p 0', { top_p: 0 }, 'invalid_request', 'top_p'],
    ['n 17', { n: 17 }, 'invalid_request', 'n', /must be a whole number from 1 to 16/],
    [
      'a model name that is too long',
      { model: 'a'.repeat(129) },
      'invalid_request',
      'model',
      /at most 128 characters/,
    ],
    ['max_tokens 0', { max_tokens: 0 }, 'invalid_request', 'max_tokens'],
    ['max_tokens 1.5', { max_tokens: 1.5 }, 'invalid_request', 'max_tokens'],
    ['two different limits', { max_tokens: 1, max_completion_tokens: 2 }, 'invalid_request', 'max_tokens'],
    ['five stop strings', { stop: ['a', 'b', 'c', 'd', 'e'] }, 'invalid_request', 'stop'],
    ['an empty stop string', { stop: [''] }, 'invalid_request', 'stop[0]'],
    [
      'a bias for no token',
      { logit_bias: { '100000': 1 } },
      'invalid_request',
      'logit_bias',
      /100000 is no token/,
    ],
    ['a bias for a word', { logit_bias: { hello: 1 } }, 'invalid_request', 'logit_bias.hello'],
    ['top_logprobs alone', { top_logprobs: 2 }, 'invalid_request', 'top_logprobs'],
    ['21 alternatives', { logprobs: true, top_logprobs: 21 }, 'invalid_request', 'top_logprobs'],
    ['a seed of 65 bits', { seed: 2 ** 64 }, 'invalid_request', 'seed', /64 bits/],
    ['half a seed', { seed: 0.5 }, 'invalid_request', 'seed', /64 bits/],
    ['a stop token that is none', { stop_token_ids: [100_000] }, 'invalid_request', 'stop_token_ids'],
    ['a repetition_penalty of 0', { repetition_penalty: 0 }, 'invalid_request', 'repetition_penalty'],
    [
      'beam search',
      { use_beam_search: true },
      'unsupported_parameter',
      'use_beam_search',
      /use n with a temperature/,
    ],
    [
      'stream_options without stream',
      { stream_options: { include_usage: true } },
      'invalid_request',
      'stream_options',
    ],
    ['a tool that is none', { tools: [{ type: 'function' }] }, 'invalid_request', 'tools[0].function'],
    [
      'a schema with what is not kept to',
      { response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { oneOf: [] } } } },
      'grammar_invalid',
      'response_format.json_schema.schema.oneOf',
      /use anyOf/,
    ],
    ['two forms', { guided_regex: 'a', guided_choice: ['b'] }, 'invalid_request', 'guided_choice'],
    ['a form that is none', { response_format: { type: 'xml' } }, 'invalid_request', 'response_format.type'],
    ['a prompt over the context', messages('word '.repeat(1000)), 'context_length_exceeded', 'messages'],
    ['100,000 characters', messages('ab '.repeat(33_334)), 'context_length_exceeded', 'messages'],
    [
      'prompt and max_tokens over the context',
      { max_tokens: 500 },
      'context_length_exceeded',
      'messages',
      /context is 512 tokens.*shorten the prompt or lower max_tokens/,
    ],
    [
      'max_tokens that leaves no room for any prompt',
      { max_tokens: 512 },
      'context_length_exceeded',
      'max_tokens',
      /to generate\); lower max_tokens/,
    ],
    [
      'max_completion_tokens that leaves no room for any prompt',
      { max_completion_tokens: 10_000 },
      'context_length_exceeded',
      'max_completion_tokens',
    ],
  ]
  test.each(cases)('%s', async (_name, body, code, param, message) => {
    const text = await expectError(await edge.chat(tenant, body), { status: 400, code, param })
    if (message !== undefined) expect(text).toMatch(message)
    expect(await stubs.calls()).toEqual([])
  })
})

describe('a body is refused', () => {
  const post = (body: BodyInit, headers: Record<string, string> = {}) =>
    edge.fetch('/v1/chat/completions', {
      method: 'POST',
      headers: { authorization: `Bearer ${tenant.key}`, ...headers },
      body,
    })

  test.each(['', '{', 'nonsense', '{"model": "tiny",}'])('when it is not JSON: %j', async (body) => {
    await expectError(await post(body), { status: 400, code: 'invalid_json' })
  })

  test('when it is not UTF-8', async () => {
    await expectError(await post(Uint8Array.of(0x22, 0xff, 0x22)), { status: 400, code: 'invalid_json' })
  })

  test.each(['[]', '"x"', 'null', '1'])('when it is no object: %s', async (body) => {
    await expectError(await post(body), { status: 400, code: 'invalid_request', param: null })
  })

  test('by its announced length before it is read', async () => {
    let read = 0
    const endless = new ReadableStream({
      pull(controller) {
        read += 1
        controller.enqueue(new Uint8Array(65_536))
      },
    })
    await expectError(await post(endless, { 'content-length': '20000000' }), {
      status: 413,
      code: 'body_too_large',
    })
    expect(read).toBeLessThan(4)
  })

  test('when it is somewhat too large, once it is read: its client writes first and reads then', async () => {
    let read = 0
    const chunk = new Uint8Array(100_000)
    const long = new ReadableStream({
      pull(controller) {
        if (read === 10_000_000) return controller.close()
        read += chunk.length
        controller.enqueue(chunk)
      },
    })
    await expectError(await post(long, { 'content-length': '10000000' }), {
      status: 413,
      code: 'body_too_large',
    })
    expect(read).toBe(10_000_000)
  })

  test('by its real length while it is read, when none was announced', async () => {
    let read = 0
    const endless = new ReadableStream({
      pull(controller) {
        read += 1
        controller.enqueue(new Uint8Array(65_536))
      },
    })
    await expectError(await post(endless), { status: 413, code: 'body_too_large' })
    expect(read * 65_536).toBeLessThan(17 * 1024 * 1024)
  })
})

describe('without a valid key nothing else of a request is looked at', () => {
  const keys: [string, string | undefined][] = [
    ['none', undefined],
    ['not a bearer token', 'Basic abc'],
    ['malformed', 'Bearer qk_wrong'],
    ['well formed but unknown', `Bearer ${mintApiKey()}`],
    ['the admin key', 'Bearer test-admin-key-0123456789'],
  ]
  test.each(keys)('%s', async (_name, authorization) => {
    let read = 0
    const body = new ReadableStream({
      pull(controller) {
        read += 1
        controller.enqueue(new Uint8Array(1024))
      },
    })
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
    const response = await edge.fetch('/v1/chat/completions', { method: 'POST', headers, body })
    await expectError(response, { status: 401, code: 'invalid_api_key' })
    expect(response.headers.get('www-authenticate')).toBe('Bearer')
    expect(read).toBeLessThan(2)
  })
})

describe('not found:', () => {
  test('a path', async () => {
    await expectError(await edge.fetch('/nowhere'), { status: 404, code: 'not_found' })
    await expectError(await edge.post('/v1/images/generations', { key: tenant.key, body: {} }), {
      status: 404,
      code: 'not_found',
    })
  })

  test('a path that is like another names that one', async () => {
    const message = await expectError(await edge.post('/v1/chat/completion', { key: tenant.key, body: {} }), {
      status: 404,
      code: 'not_found',
    })
    expect(message).toMatch(/POST \/v1\/chat\/completions/)
  })

  test('a method', async () => {
    const response = await edge.fetch('/v1/chat/completions', {
      headers: { authorization: `Bearer ${tenant.key}` },
    })
    await expectError(response, { status: 405, code: 'method_not_allowed' })
  })

  test.each(['nobody', '', 'constructor', '__proto__', '../tiny', 'a'.repeat(200)])(
    'a model: %j',
    async (model) => {
      const response = await edge.chat(tenant, { model })
      expect([400, 404]).toContain(response.status)
      if (response.status === 404)
        await expectError(response, { status: 404, code: 'model_not_found', param: 'model' })
    },
  )
})

test('a browser may call, and read the headers', async () => {
  const preflight = await edge.fetch('/v1/chat/completions', {
    method: 'OPTIONS',
    headers: { origin: 'https://app.example', 'access-control-request-method': 'POST' },
  })
  expect(preflight.status).toBe(204)
  expect(preflight.headers.get('access-control-allow-origin')).toBe('*')
  const refused = await edge.fetch('/v1/models', { headers: { origin: 'https://app.example' } })
  expect(refused.headers.get('access-control-allow-origin')).toBe('*')
  expect(refused.headers.get('access-control-expose-headers')).toMatch(/x-request-id/)
})

describe('a body that is not sent as it is', () => {
  const send = (path: string, headers: Record<string, string>, body: string) =>
    edge.fetch(path, {
      method: 'POST',
      headers: { authorization: `Bearer ${tenant.key}`, ...headers },
      body,
    })

  test.each(['/v1/chat/completions', '/v1/completions', '/v1/adapters'])(
    'but compressed is refused at %s with the remedy',
    async (path) => {
      const response = await send(path, { 'content-encoding': 'gzip', 'content-length': '2' }, '{}')
      const message = await expectError(response, { status: 415, code: 'unsupported_media_type' })
      expect(message).toMatch(/send it uncompressed/)
    },
  )

  test('but in a form is refused as an adapter, with the remedy', async () => {
    const headers = { 'content-type': 'multipart/form-data; boundary=x', 'content-length': '5' }
    const response = await send('/v1/adapters', headers, '--x--')
    const message = await expectError(response, { status: 415, code: 'unsupported_media_type' })
    expect(message).toMatch(/--data-binary @FILE/)
  })
})

test('the root says where the documents are', async () => {
  const response = await edge.fetch('/')
  expect(response.status).toBe(200)
  expect(await response.json()).toMatchObject({ docs: '/docs' })
})

test.each(['/', '/nowhere', '/admin/v1/nowhere'])('%s answers with a traceparent', async (path) => {
  expect((await edge.fetch(path)).headers.get('traceparent')).toMatch(/^00-/)
})
