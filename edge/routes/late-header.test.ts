import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ErrorBody } from '../../shared/api/error.ts'
import { BackboneDigest, BackboneSlug } from '../../shared/ids.ts'
import { GenerateRequest, maxTail } from '../../shared/wire.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { byteIds, tinyChat, tinySpecials, tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
const tinyHeader = [tinySpecials.imStart, ...byteIds('assistant\n')]
const tail = tinyHeader.length
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
  const { file } = await makeAdapter({ backbone: workerBackbone, seed: 100, tail })
  expect((await edge.own(tenant, 'POST', '/adapters?alias=safe', file)).status).toBe(201)
})

beforeEach(() => stubs.behave({ tokens: byteIds('yes'), reason: 'stop' }))

const messages = [{ role: 'user', content: 'hello' }]
const ask = (body: object) =>
  edge.post('/v1/chat/completions', { key: tenant.key, body: { messages, max_tokens: 8, ...body } })
const sent = async () => (await stubs.calls()).map(({ body }) => GenerateRequest.parse(body))

async function refusal(body: object) {
  const response = await ask(body)
  const { error } = ErrorBody.parse(await response.json())
  expect(await stubs.calls()).toEqual([])
  return { status: response.status, code: error.code, param: error.param, message: error.message }
}

describe('late rows of several backbones', () => {
  test('answer neither together nor in one stack, and none stands for a template without a header', async () => {
    const second = {
      ...workerBackbone,
      slug: BackboneSlug.parse('second'),
      digest: BackboneDigest.parse('cd'.repeat(32)),
    }
    const headless = {
      ...second,
      slug: BackboneSlug.parse('headless'),
      digest: BackboneDigest.parse('ef'.repeat(32)),
      chat: { template: tinyChat.template.replace(/{% if add_generation_prompt %}.*$/, '') },
    }
    for (const backbone of [second, headless]) {
      const put = await edge.admin('PUT', `/backbones/${backbone.slug}`, {
        backbone,
        tokenizer: tinyTokenizer,
      })
      expect(put.status).toBe(204)
    }
    const foreign = await makeAdapter({ backbone: second, seed: 900, tail })
    expect((await edge.own(tenant, 'POST', '/adapters?alias=foreign', foreign.file)).status).toBe(201)
    for (const [body, param] of [
      [{ model: 'safe+foreign' }, 'model'],
      [{ models: ['safe', 'foreign'] }, 'models[1]'],
    ] as const) {
      const refused = await refusal(body)
      expect(refused).toMatchObject({ status: 400, code: 'invalid_request', param })
      expect(refused.message).toMatch(/second.*one backbone/)
    }
    const { file } = await makeAdapter({ backbone: headless, seed: 901, tail })
    const published = await edge.own(tenant, 'POST', '/adapters', file)
    expect(published.status).toBe(400)
    const { error } = ErrorBody.parse(await published.json())
    expect(error).toMatchObject({ code: 'backbone_mismatch', param: 'tail' })
    expect(error.message).toContain('train with another placement')
  })
})

describe('late rows of a chat template that has changed since they were published', () => {
  const changing = {
    ...workerBackbone,
    slug: BackboneSlug.parse('changing'),
    digest: BackboneDigest.parse('12'.repeat(32)),
  }
  const longer = { template: tinyChat.template.replace('>assistant', '>99assistant') }
  const headless = { template: tinyChat.template.replace(/{% if add_generation_prompt %}.*$/, '') }
  const put = async (chat: { readonly template: string }) => {
    const backbone = { ...changing, chat }
    const answer = await edge.admin('PUT', `/backbones/${changing.slug}`, {
      backbone,
      tokenizer: tinyTokenizer,
    })
    expect(answer.status).toBe(204)
  }
  const publish = async (alias: string, of: { readonly seed: number; readonly tail: number }) => {
    const { file } = await makeAdapter({ backbone: changing, ...of })
    const published = await edge.own(tenant, 'POST', `/adapters?alias=${alias}`, file)
    expect(published.status, await published.text()).toBe(201)
  }
  const longTail = tail + byteIds('99').length

  beforeAll(async () => {
    await put(tinyChat)
    await publish('before', { seed: 910, tail })
    await publish('likewise', { seed: 911, tail })
    await put(longer)
    await publish('after', { seed: 912, tail: longTail })
  })

  test('are refused by name and with what to do, alone and in a stack, and no node is asked', async () => {
    const stale = { status: 400, code: 'backbone_mismatch' }
    for (const [body, param, wanted] of [
      [{ model: 'before' }, 'model', stale],
      [{ model: 'before+likewise' }, 'model', stale],
      [{ models: ['after', 'before'] }, 'models[1]', stale],
      [{ model: 'before', chat_template_kwargs: { thinking: false } }, 'model', stale],
      [{ model: 'before+after' }, 'model', { status: 400, code: 'invalid_request' }],
      [{ models: ['after', 'after+before'] }, 'models[1]', { status: 400, code: 'invalid_request' }],
    ] as const) {
      const refused = await refusal(body)
      expect(refused, JSON.stringify(body)).toMatchObject({ ...wanted, param })
      expect(refused.message).toMatch(new RegExp(`(generation header|for one) of ${tail}`))
      expect(refused.message).toContain('train it anew')
    }
    const messagesRefused = await edge.post('/v1/messages', {
      key: tenant.key,
      body: { model: 'before', messages, max_tokens: 8 },
    })
    expect(messagesRefused.status).toBe(400)
    const responsesRefused = await edge.post('/v1/responses', {
      key: tenant.key,
      body: { model: 'before', input: 'hello', max_output_tokens: 8 },
    })
    expect(ErrorBody.parse(await responsesRefused.json()).error).toMatchObject({
      code: 'backbone_mismatch',
      param: 'model',
    })
    expect(await stubs.calls()).toEqual([])
    expect((await ask({ model: 'after' })).status).toBe(200)
  })

  test('serve prompts without a header as before: raw ones, and conversations that are to have none', async () => {
    const response = await edge.complete(tenant, { model: 'before', prompt: 'a prompt that is long enough' })
    expect(response.status).toBe(200)
    const headless = await ask({
      model: 'before',
      messages: [{ role: 'user', content: 'a message that is long enough' }],
      add_generation_prompt: false,
    })
    expect(headless.status, await headless.text()).toBe(200)
  })

  test('answer with others where the prompt without a header is long enough for all of them', async () => {
    const { file } = await makeAdapter({ backbone: changing, seed: 913, tail: longTail, rows: 1 })
    expect((await edge.own(tenant, 'POST', '/adapters?alias=narrow', file)).status).toBe(201)
    const asked = (models: readonly string[], content: string) => ({
      models,
      messages: [{ role: 'user', content }],
      add_generation_prompt: false,
    })
    // Whichever has more rows, and whichever is first.
    for (const models of [
      ['before', 'after'],
      ['before', 'narrow'],
      ['narrow', 'before'],
    ]) {
      // `<|im_start|>user\n`, the text and `<|im_end|>\n`: with five characters as many as the longer tail.
      const refused = await refusal(asked(models, 'abcde'))
      expect(refused).toMatchObject({ status: 400, code: 'invalid_request', param: 'messages' })
      expect(refused.message).toContain(`in front of the last ${longTail}`)
      await stubs.behave({ tokens: byteIds('yes'), reason: 'stop' })
      expect((await ask(asked(models, 'abcdef'))).status).toBe(200)
      await stubs.behave({ tokens: byteIds('yes'), reason: 'stop' })
    }
  })

  test('are no shadows of each other, and an alias that moves to one leaves its shadow behind', async () => {
    await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { shadowTokensPerDay: 1_000_000 } })
    const digestOf = async (alias: string) =>
      (await (await edge.own(tenant, 'GET', `/aliases/${alias}`)).json<{ digest: string }>()).digest
    const shadowed = (digest: string) =>
      edge.own(tenant, 'PUT', '/aliases/before/shadow', { digest, percent: 100 })
    const [before, after, likewise] = [
      await digestOf('before'),
      await digestOf('after'),
      await digestOf('likewise'),
    ]
    const refused = await shadowed(after)
    expect(refused.status).toBe(409)
    const { error } = ErrorBody.parse(await refused.json())
    expect(error.code).toBe('conflict')
    expect(error.message).toMatch(
      new RegExp(`header of ${tail} tokens and the shadow for one of ${longTail}.*train it anew`),
    )
    expect(await (await shadowed(likewise)).json()).toMatchObject({ shadow: { digest: likewise } })
    const moved = await edge.own(tenant, 'PUT', '/aliases/before', { digest: after })
    expect((await moved.json<{ shadow?: object }>()).shadow).toBeUndefined()
    expect((await edge.own(tenant, 'PUT', '/aliases/before', { digest: before })).status).toBe(200)
  })

  test('are counted as before, as no model runs', async () => {
    const counted = await edge.post('/v1/messages/count_tokens', {
      key: tenant.key,
      body: { model: 'before', messages },
    })
    expect(counted.status, await counted.text()).toBe(200)
  })

  test('are refused where the template has no header any more', async () => {
    await put(headless)
    const refused = await refusal({ model: 'after' })
    expect(refused).toMatchObject({ status: 400, code: 'backbone_mismatch', param: 'model' })
    expect(refused.message).toContain('has none now')
    await put(longer)
    expect((await ask({ model: 'after' })).status).toBe(200)
  })
})

describe('where late rows stand', () => {
  test('in front of the header, of which the node needs no telling', async () => {
    await ask({ model: 'safe' })
    const [{ prompt = [], tail: told } = {}] = await sent()
    expect(told).toBeUndefined()
    expect(prompt.slice(-tail)).toEqual(tinyHeader)
  })

  test('in front of the header too where the last message is the beginning of the answer', async () => {
    const beginning = { role: 'assistant', content: 'It is' }
    await ask({ model: 'safe', messages: [...messages, beginning], continue_final_message: true })
    const [{ prompt = [], tail: told = 0 } = {}] = await sent()
    expect(prompt.slice(-told)).toEqual([...tinyHeader, ...byteIds('It is')])
  })

  test('in front of the header too where it is a last message of the assistant to /v1/messages', async () => {
    const response = await edge.post('/v1/messages', {
      key: tenant.key,
      body: {
        model: 'safe',
        messages: [...messages, { role: 'assistant', content: 'It is' }],
        max_tokens: 8,
      },
    })
    expect(response.status).toBe(200)
    const [{ prompt = [], tail: told = 0 } = {}] = await sent()
    expect(prompt.slice(-told)).toEqual([...tinyHeader, ...byteIds('It is')])
  })

  test('in front of the header that a request’s settings write', async () => {
    await ask({ model: 'safe', chat_template_kwargs: { enable_thinking: false } })
    const [{ prompt = [], tail: told = 0 } = {}] = await sent()
    expect(prompt.slice(-told)).toEqual(tinyHeader)
  })

  test('in front of the last tokens, as in a raw prompt, where no header is asked for', async () => {
    await ask({ model: 'safe', add_generation_prompt: false })
    const [{ prompt = [], tail: told } = {}] = await sent()
    expect(told).toBeUndefined()
    expect(prompt.slice(-tail)).not.toEqual(tinyHeader)
  })

  test('with at most 512 tokens behind them, a given beginning and the header together', async () => {
    const roomy = {
      ...workerBackbone,
      slug: BackboneSlug.parse('roomy'),
      digest: BackboneDigest.parse('34'.repeat(32)),
      contextLength: 2048,
    }
    const put = await edge.admin('PUT', '/backbones/roomy', { backbone: roomy, tokenizer: tinyTokenizer })
    expect(put.status).toBe(204)
    const { file } = await makeAdapter({ backbone: roomy, seed: 920, tail })
    expect((await edge.own(tenant, 'POST', '/adapters?alias=spacious', file)).status).toBe(201)
    const body = (content: string) => ({
      model: 'spacious',
      messages: [...messages, { role: 'assistant', content }],
      continue_final_message: true,
    })
    const most = maxTail - tail
    expect((await ask(body('x'.repeat(most)))).status).toBe(200)
    const [{ tail: told } = {}] = await sent()
    expect(told).toBe(maxTail)
    await stubs.behave({ tokens: byteIds('yes'), reason: 'stop' })
    const refused = await refusal(body('x'.repeat(most + 1)))
    expect(refused).toMatchObject({ status: 400, code: 'invalid_request', param: 'messages' })
    expect(refused.message).toContain(`${maxTail + 1} tokens would stand behind the adapter's rows`)
    expect(refused.message).toContain('continue a shorter beginning')
  })

  test('a beginning with nothing in front of it is refused', async () => {
    const beginning = { role: 'assistant', content: 'It is' }
    expect(
      await refusal({ model: 'safe', messages: [beginning], continue_final_message: true }),
    ).toMatchObject({ status: 400, code: 'invalid_request', param: 'messages' })
  })

  test('a raw prompt that is no longer than the header is refused, by name', async () => {
    const prompt = byteIds('x'.repeat(tail))
    const response = await edge.complete(tenant, { model: 'safe', prompt })
    expect(response.status).toBe(400)
    expect(ErrorBody.parse(await response.json()).error).toMatchObject({
      code: 'invalid_request',
      param: 'prompt',
    })
    expect((await edge.complete(tenant, { model: 'safe', prompt: [...prompt, 1] })).status).toBe(200)
  })
})
