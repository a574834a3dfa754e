import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { AliasDetail, AliasList, AliasSummary, History } from '../../shared/api/deployments.ts'
import type { AnswerForm } from '../../shared/api/structure.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { makeAdapter, type TestAdapter } from '../../test/edge/adapter.ts'
import { errorOf, stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
let tenant: TestTenant
let next: TestAdapter

const order: AnswerForm = {
  type: 'json_schema',
  json_schema: {
    name: 'order',
    description: undefined,
    schema: { type: 'object', properties: { item: { type: 'string' } }, required: ['item'] },
    strict: false,
  },
}

beforeAll(async () => {
  await edge.seedBackbone()
  next = await makeAdapter({ backbone: workerBackbone, seed: 909 })
})
beforeEach(async () => {
  tenant = await edge.seedTenant()
  await edge.own(tenant, 'POST', '/adapters', next.file)
  await stubs.behave({ tokens: byteIds('{}'), reason: 'stop' })
})

const deploy = (body: object) =>
  edge.own(tenant, 'PUT', '/aliases/tone', { digest: tenant.adapter.digest, ...body })
const deployed = async (body: object) => {
  const response = await deploy(body)
  expect(response.status).toBe(200)
  return AliasSummary.parse(await response.json())
}
const detail = async () => AliasDetail.parse(await (await edge.own(tenant, 'GET', '/aliases/tone')).json())

const messages = [{ role: 'user', content: 'hello' }]
/** The requests that each endpoint answers in the alias's own form. */
const endpoints = {
  '/chat/completions': { messages },
  '/completions': { prompt: 'hello' },
  '/responses': { input: 'hello', store: false },
  '/messages': { messages, max_tokens: 9 },
}

/** The grammar that the nodes are asked to keep to. */
async function grammarOf(path: string, body: object) {
  await stubs.behave({ tokens: byteIds('{}'), reason: 'stop' })
  const response = await edge.own(tenant, 'POST', path, { model: 'tone', ...body })
  expect(response.status, await response.text()).toBe(200)
  const [call] = (await stubs.calls()).filter(({ kind }) => kind === 'generate')
  return GenerateRequest.parse(call?.body).grammar
}

describe('an alias that was deployed with a form', () => {
  test.each(Object.entries(endpoints))(
    'names no field that was not sent where min_tokens does not go with it, at %s',
    async (path, body) => {
      await deployed({ response_format: order })
      const response = await edge.own(tenant, 'POST', path, { model: 'tone', min_tokens: 2, ...body })
      expect(response.status).toBe(400)
      expect(await errorOf(response)).toMatchObject({
        param: 'min_tokens',
        message: 'min_tokens: does not go with the form that the alias gives its answers; remove it',
      })
    },
  )

  test.each(Object.entries(endpoints))('has answers of it at %s', async (path, body) => {
    expect(await deployed({ response_format: order })).toMatchObject({
      response_format: { type: 'json_schema', name: 'order' },
    })
    const grammar = await grammarOf(path, body)
    expect(grammar).toMatchObject({ kind: 'json_schema', schema: expect.stringContaining('"item"') })
    expect(await grammarOf(path, { ...body, model: 'tiny' })).toBeUndefined()
  })

  test.each([
    ['/chat/completions', { messages, response_format: { type: 'text' } }, undefined],
    ['/chat/completions', { messages, response_format: { type: 'json_object' } }, 'json_schema'],
    ['/chat/completions', { messages, guided_regex: '[a-z]+' }, 'regex'],
    ['/completions', { prompt: 'a', structured_outputs: { choice: ['a'] } }, 'ebnf'],
    ['/completions', { prompt: 'a', echo: true, max_tokens: 0 }, undefined],
    ['/responses', { input: 'a', store: false, text: { format: { type: 'text' } } }, undefined],
    ['/responses', { input: 'a', store: false, text: { format: { type: 'json_object' } } }, 'json_schema'],
  ])('answers as the request asks where it brings its own: %s %j', async (path, body, kind) => {
    await deployed({ response_format: order })
    const grammar = await grammarOf(path, body)
    expect(grammar?.kind).toBe(kind)
    expect(JSON.stringify(grammar ?? '')).not.toContain('item')
  })

  test('has it told in a response’s text.format', async () => {
    await deployed({ response_format: order })
    const format = async (body: object) => {
      const response = await edge.own(tenant, 'POST', '/responses', {
        model: 'tone',
        input: 'a',
        store: false,
        ...body,
      })
      return (await response.json<{ text: { format: unknown } }>()).text.format
    }
    expect(await format({})).toMatchObject({ type: 'json_schema', name: 'order' })
    expect(await format({ text: { format: { type: 'text' } } })).toEqual({ type: 'text' })
  })

  test('answers in it or calls a function, and only calls where it must', async () => {
    await deployed({ response_format: order })
    const tools = [
      { type: 'function', function: { name: 'look', parameters: { type: 'object', properties: {} } } },
    ]
    const free = JSON.stringify(await grammarOf('/chat/completions', { messages, tools }))
    expect(free).toContain('item')
    expect(free).toContain('look')
    const forced = await grammarOf('/chat/completions', { messages, tools, tool_choice: 'required' })
    expect(JSON.stringify(forced)).not.toContain('item')
  })

  test('keeps it through deployments, canaries and promotions that do not name it; null takes it away', async () => {
    await deployed({ response_format: order })
    expect((await deployed({ digest: next.digest })).response_format).toEqual({
      type: 'json_schema',
      name: 'order',
    })
    await edge.own(tenant, 'PUT', '/aliases/tone/canary', { digest: tenant.adapter.digest, percent: 5 })
    await edge.own(tenant, 'POST', '/aliases/tone/promote', {})
    expect((await detail()).response_format).toEqual(order)
    expect(await deployed({ response_format: null })).toMatchObject({ response_format: null })
    expect(await grammarOf('/chat/completions', { messages })).toBeUndefined()
  })

  test('goes back to it with a rollback, and tells its history', async () => {
    await deployed({ response_format: order })
    await deployed({ digest: next.digest, response_format: { type: 'json_object' } })
    await edge.own(tenant, 'POST', '/aliases/tone/rollback', {})
    expect((await detail()).response_format).toEqual(order)
    const { data } = History.parse(await (await edge.own(tenant, 'GET', '/aliases/tone/history')).json())
    expect(data.map(({ response_format }) => response_format)).toEqual([
      { type: 'json_schema', name: 'order' },
      { type: 'json_object' },
      { type: 'json_schema', name: 'order' },
      null,
    ])
  })

  test('has it told to its own tenant alone', async () => {
    await deployed({ response_format: order })
    const other = await edge.seedTenant()
    const list = async (of: TestTenant) =>
      AliasList.parse(await (await edge.own(of, 'GET', '/aliases')).json()).data[0]?.response_format
    expect([await list(tenant), await list(other)]).toEqual([{ type: 'json_schema', name: 'order' }, null])
    expect(JSON.stringify(await grammarOf('/chat/completions', { messages }))).toContain('item')
    expect((await edge.own(other, 'POST', '/chat/completions', { model: 'tone', messages })).status).toBe(200)
    expect(
      (await stubs.calls()).filter(({ body }) => GenerateRequest.parse(body).grammar !== undefined),
    ).toHaveLength(1)
  })
})

describe('aliases with different forms', () => {
  const late = { tail: 1 + 'assistant\n'.length }
  beforeEach(async () => {
    for (const [alias, seed] of [
      ['first', 921],
      ['second', 922],
    ] as const) {
      const { digest, file } = await makeAdapter({ backbone: workerBackbone, seed, ...late })
      await edge.own(tenant, 'POST', '/adapters', file)
      const form = { type: 'json_schema', json_schema: { name: alias, schema: { type: 'object' } } }
      const put = await edge.own(tenant, 'PUT', `/aliases/${alias}`, { digest, response_format: form })
      expect(put.status).toBe(200)
    }
  })

  test.each([
    ['/chat/completions', 'response_format', /"text"/],
    ['/completions', 'response_format', /"text"/],
    ['/responses', 'text.format', /"text"/],
    ['/messages', 'output_config.format', /send the one that you want$/],
  ] as const)('are refused by the field that %s has for it, %s', async (path, param, remedy) => {
    const prompt = path === '/completions' ? { prompt: 'a prompt that is long enough' } : endpoints[path]
    const response = await edge.own(tenant, 'POST', path, { model: 'first+second', ...prompt })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      error: { code: 'invalid_request', param, message: expect.stringMatching(remedy) },
    })
  })

  test('have one that cannot be compiled refused by the field that names them', async () => {
    const same = { type: 'json_schema', json_schema: { name: 'same', schema: { type: 'object' } } }
    for (const alias of ['first', 'second']) {
      const { digest } = await (await edge.own(tenant, 'GET', `/aliases/${alias}`)).json<{ digest: string }>()
      await edge.own(tenant, 'PUT', `/aliases/${alias}`, { digest, response_format: same })
    }
    await stubs.behave({ tokens: [], refuse: { status: 400, code: 'grammar_invalid' } })
    for (const [body, param] of [
      [{ models: ['first', 'second'] }, 'models'],
      [{ model: 'first' }, 'model'],
    ] as const) {
      const response = await edge.own(tenant, 'POST', '/chat/completions', { messages, ...body })
      expect(await response.json()).toMatchObject({ error: { code: 'grammar_invalid', param } })
    }
  })
})

describe('a form is refused at deployment, and nothing changes:', () => {
  const schema = (schema: object) => ({ type: 'json_schema', json_schema: { name: 'x', schema } })
  test.each([
    ['what no answer can be held to', schema({ type: 'object', not: {} }), 'grammar_invalid', /not/],
    ['a $ref to nothing', schema({ $ref: '#/$defs/no' }), 'grammar_invalid', /ref/],
    ['a long one', schema({ type: 'string', description: 'x'.repeat(20_000) }), 'invalid_request', /16384/],
    ['another type', { type: 'text' }, 'invalid_request', /json_object or json_schema/],
  ])('%s', async (_name, response_format, code, message) => {
    const response = await deploy({ response_format })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      error: {
        code,
        param: expect.stringMatching(/^response_format/),
        message: expect.stringMatching(message),
      },
    })
    expect(await detail()).toMatchObject({ version: 1, response_format: null })
  })

  test('more than a tenant has room for, until versions that have them are gone', async () => {
    const long = (at: number) => schema({ type: 'string', description: `${at}${'x'.repeat(16_000)}` })
    const statuses: number[] = []
    for (let at = 0; at < 70; at++) statuses.push((await deploy({ response_format: long(at) })).status)
    expect([...new Set(statuses)]).toEqual([200, 409])
    expect(statuses.indexOf(409)).toBe(65)
    // One that is there already takes no room.
    expect((await deploy({ response_format: long(3) })).status).toBe(200)
  })
})
