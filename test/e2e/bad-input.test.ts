import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { post, stack } from './shared-stack.ts'

/** Bad input at the front door of the real stack: one clear error that names the field and the remedy. */

const user = (content: string) => ({ role: 'user', content })
const chat = (change: Record<string, unknown>) => ({
  model: stack.backbone,
  messages: [user('Hi')],
  max_tokens: 4,
  ...change,
})

const ErrorBody = z.strictObject({
  error: z.strictObject({
    message: z.string().min(10),
    type: z.enum(['invalid_request_error', 'authentication_error', 'rate_limit_error', 'server_error']),
    param: z.string().nullable(),
    code: z.string(),
  }),
})

interface Case {
  readonly body: unknown
  readonly status: number
  readonly code: string
  readonly param?: string
}

const cases: Record<string, Case> = {
  'malformed JSON': { body: '{"model": ', status: 400, code: 'invalid_json' },
  'a body that is no object': { body: '[]', status: 400, code: 'invalid_request' },
  'a wrong type': {
    body: chat({ max_tokens: 'many' }),
    status: 400,
    code: 'invalid_request',
    param: 'max_tokens',
  },
  'a value out of range': {
    body: chat({ temperature: 3 }),
    status: 400,
    code: 'invalid_request',
    param: 'temperature',
  },
  'empty messages': { body: chat({ messages: [] }), status: 400, code: 'invalid_request', param: 'messages' },
  'an unknown role': {
    body: chat({ messages: [{ role: 'wizard', content: 'Hi' }] }),
    status: 400,
    code: 'invalid_request',
    param: 'messages[0].role',
  },
  'a parameter that is not served': {
    body: chat({ modalities: ['audio'] }),
    status: 400,
    code: 'unsupported_parameter',
    param: 'modalities',
  },
  'too many choices': { body: chat({ n: 129 }), status: 400, code: 'invalid_request', param: 'n' },
  'a lone surrogate': {
    body: `{"model":"${stack.backbone}","messages":[{"role":"user","content":"\\ud800"}]}`,
    status: 400,
    code: 'invalid_request',
    param: 'messages[0].content',
  },
  'a prompt over the context': {
    body: chat({ messages: [user('word '.repeat(20_000))] }),
    status: 400,
    code: 'context_length_exceeded',
    param: 'messages',
  },
  'a body of 10 MB': {
    body: chat({ messages: [user('x'.repeat(10_000_000))] }),
    status: 413,
    code: 'body_too_large',
  },
}

describe('one clear error for', () => {
  it.each(Object.entries(cases))('%s', async (_name, { body, status, code, param }) => {
    const response = await post('/v1/chat/completions', body)
    const { error } = ErrorBody.parse(await response.json())
    expect({ status: response.status, code: error.code }).toEqual({ status, code })
    if (param !== undefined) expect(error.param).toBe(param)
    expect(response.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
  })

  it('no key, before anything else of the request is read', async () => {
    const response = await post('/v1/chat/completions', '{"broken', { authorization: '' })
    expect(response.status).toBe(401)
    expect(ErrorBody.parse(await response.json()).error.code).toBe('invalid_api_key')
  })

  it('a path that is not there', async () => {
    const response = await post('/v1/images/generations', {})
    expect(response.status).toBe(404)
    expect(ErrorBody.parse(await response.json()).error.code).toBe('not_found')
  })
})

it('the node lets nobody in who lacks a signed token', async () => {
  const calls = [
    fetch(`${stack.node}/v1/generate`, { method: 'POST', body: '{}' }),
    fetch(`${stack.node}/v1/generate`, {
      method: 'POST',
      body: '{}',
      headers: { authorization: 'Bearer a.b.c' },
    }),
    fetch(`${stack.node}/v1/adapters/${'0'.repeat(64)}`, { method: 'PUT', body: 'x' }),
    fetch(`${stack.node}/v1/node`),
  ]
  for (const response of await Promise.all(calls)) {
    expect(response.status).toBe(401)
    expect(ErrorBody.parse(await response.json()).error.code).toBe('invalid_node_token')
  }
})

it('a prompt of 100,000 characters is refused and the stack goes on answering', async () => {
  const refused = await post('/v1/chat/completions', chat({ messages: [user('Lorem ipsum '.repeat(8_334))] }))
  expect(refused.status).toBe(400)
  expect((await post('/v1/chat/completions', chat({}))).status).toBe(200)
})
