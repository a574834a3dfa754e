import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ChatCompletion, ChatCompletionChunk } from '../../shared/api/chat-completions.ts'
import { ErrorBody } from '../../shared/api/error.ts'
import { UsageList } from '../../shared/api/usage.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { makeAdapter, type TestAdapter } from '../../test/edge/adapter.ts'
import { readSse, stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { byteIds, tinySpecials } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
const tail = [tinySpecials.imStart, ...byteIds('assistant\n')].length
/** Late aliases, by the number of rows that their adapters make. */
const rowsOf = { safe: 2, topic: 3, answer: 4, extra: 1, fifth: 5 } as const
const adapters = new Map<string, TestAdapter>()
let tenant: TestTenant

const digestOf = (alias: keyof typeof rowsOf) => adapters.get(alias)?.digest ?? ''
const rowsByDigest = () =>
  Object.fromEntries(Object.entries(rowsOf).map(([alias, rows]) => [adapters.get(alias)?.digest ?? '', rows]))

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
  for (const [alias, rows] of Object.entries(rowsOf)) {
    const adapter = await makeAdapter({ backbone: workerBackbone, seed: 100 + rows, rows, tail })
    adapters.set(alias, adapter)
    const published = await edge.own(tenant, 'POST', `/adapters?alias=${alias}`, adapter.file)
    expect(published.status).toBe(201)
    expect(await published.json()).toMatchObject({ rows, tail })
  }
})

beforeEach(() => stubs.behave({ tokens: byteIds('yes'), reason: 'stop' }))

const messages = [{ role: 'user', content: 'hello' }]
const ask = (body: object) =>
  edge.post('/v1/chat/completions', { key: tenant.key, body: { messages, max_tokens: 8, ...body } })
const sent = async () =>
  (await stubs.calls())
    .filter(({ kind }) => kind === 'generate')
    .map(({ body }) => GenerateRequest.parse(body))

async function refusal(body: object) {
  const response = await ask(body)
  const { error } = ErrorBody.parse(await response.json())
  expect(await stubs.calls()).toEqual([])
  return { status: response.status, code: error.code, param: error.param, message: error.message }
}

describe('several models in one request', () => {
  const models = ['safe', 'topic', 'answer'] as const

  test('answer the same conversation at one node, each with a choice that carries its name', async () => {
    const response = await ask({ models, seed: 7 })
    expect(response.status).toBe(200)
    const { choices, model, usage } = ChatCompletion.parse(await response.json())
    expect(model).toBe('safe,topic,answer')
    expect(choices.map((choice) => [choice.index, choice.model, choice.message.content])).toEqual([
      [0, 'safe', 'yes'],
      [1, 'topic', 'yes'],
      [2, 'answer', 'yes'],
    ])
    expect(response.headers.get('x-quartet-adapter')).toBe(models.map(digestOf).join(', '))
    expect(response.headers.get('x-quartet-node')).toMatch(/^stub-[01]$/)
    const requests = await sent()
    expect(requests.map(({ adapter }) => adapter).sort()).toEqual(models.map(digestOf).sort())
    expect(new Set(requests.map(({ prompt }) => prompt.join())).size).toBe(1)
    expect(new Set(requests.map(({ sampling }) => sampling.seed))).toEqual(new Set([7]))
    // The conversation counts once.
    const prompt = requests[0]?.prompt.length ?? 0
    expect(usage).toMatchObject({ prompt_tokens: prompt, completion_tokens: 9, total_tokens: prompt + 9 })
  })

  test('are streamed together, every chunk with its name', async () => {
    const events = await readSse(await ask({ models, stream: true, stream_options: { include_usage: true } }))
    expect(events.pop()).toBe('[DONE]')
    const chunks = events.map((event) => ChatCompletionChunk.parse(JSON.parse(event)))
    expect(chunks.pop()?.usage?.completion_tokens).toBe(9)
    const texts = new Map<string, string>()
    for (const { choices } of chunks)
      for (const { delta, index, model = '' } of choices) {
        expect(model).toBe(models[index])
        texts.set(model, (texts.get(model) ?? '') + (delta.content ?? ''))
      }
    expect(Object.fromEntries(texts)).toEqual({ safe: 'yes', topic: 'yes', answer: 'yes' })
  })

  test('go to the same node that the next request about the conversation goes to', async () => {
    const nodes = new Set<string | null>()
    for (const body of [{ models }, { model: 'safe' }, { model: 'answer' }])
      nodes.add((await ask(body)).headers.get('x-quartet-node'))
    expect(nodes.size).toBe(1)
  })

  test('are counted apart in the usage, each with its own rows, the conversation with the first', async () => {
    await stubs.behave({ tokens: byteIds('yes'), reason: 'stop', rows: rowsByDigest() })
    const earlier = await usageOf()
    await ask({ models })
    const later = await usageOf()
    const prompt = (await sent())[0]?.prompt.length
    for (const [alias, tokens] of [
      ['safe', prompt],
      ['topic', 0],
      ['answer', 0],
    ] as const)
      expect(later(alias, 'prompt_tokens') - earlier(alias, 'prompt_tokens'), alias).toBe(tokens)
    for (const alias of models) {
      expect(later(alias, 'completion_tokens') - earlier(alias, 'completion_tokens')).toBe(3)
      expect(later(alias, 'prompt_rows') - earlier(alias, 'prompt_rows'), alias).toBe(rowsOf[alias])
    }
  })

  test('need room in the budget for all of them at once', async () => {
    await stubs.behave({ tokens: byteIds('yes'), reason: 'stop' })
    await ask({ model: 'safe' })
    const prompt = (await sent())[0]?.prompt.length ?? 0
    await stubs.behave({ tokens: byteIds('yes'), reason: 'stop' })
    const rows = rowsOf.safe + rowsOf.topic + rowsOf.answer
    const need = prompt + rows + 3 * 8
    const limit = async (tokensPerMinute: number | null) =>
      expect(
        (await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { tokensPerMinute } })).status,
      ).toBe(200)
    await limit(need - 1)
    expect(await refusal({ models })).toMatchObject({ status: 400, code: 'exceeds_limit' })
    await limit(need)
    expect((await ask({ models })).status).toBe(200)
    await limit(null)
    expect((await ask({ models })).status).toBe(200)
  })

  test.each([
    [{ models: ['safe', 'nobody'] }, 404, 'model_not_found', 'models[1]', 'nobody'],
    [{ models: ['safe', 'tone'] }, 400, 'invalid_request', 'models[1]', 'late rows'],
    [{ models: ['safe', 'tiny'] }, 400, 'invalid_request', 'models[1]', 'untuned'],
    [{ models: ['safe', 'topic', 'safe'] }, 400, 'invalid_request', 'models[2]', 'twice'],
    [{ models: ['safe', 'safe@stable'] }, 400, 'invalid_request', 'models[1]', 'twice'],
    [{ models: ['topic@stable', 'safe', 'topic'] }, 400, 'invalid_request', 'models[2]', 'twice'],
    [{ models: ['safe+topic', 'safe+topic@stable'] }, 400, 'invalid_request', 'models[1]', 'twice'],
    [{ models: [] }, 400, 'invalid_request', 'models', ''],
    [{ models: ['safe'], model: 'safe' }, 400, 'invalid_request', 'models', 'does not go with model'],
    [{ models: ['safe', 'topic'], n: 2 }, 400, 'invalid_request', 'n', 'does not go with models'],
    [{}, 400, 'invalid_request', 'model', 'missing'],
    [
      { models: ['safe', 'answer'], max_tokens: 512 },
      400,
      'context_length_exceeded',
      'max_tokens',
      '4 of the adapter',
    ],
  ])('%j is refused, by name', async (body, status, code, param, words) => {
    const refused = await refusal(body)
    expect(refused).toMatchObject({ status, code, param })
    expect(refused.message).toContain(words)
  })

  test('that the policy leaves out are refused, by name', async () => {
    const allow = (aliases: readonly string[] | null) =>
      edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { aliases } })
    await allow(['safe'])
    expect(await refusal({ models })).toMatchObject({ code: 'model_not_allowed', param: 'models[1]' })
    expect(await refusal({ model: 'safe+topic' })).toMatchObject({
      code: 'model_not_allowed',
      param: 'model',
    })
    await allow(null)
  })
})

describe('a stack', () => {
  test('has the rows of its parts in order, each as its own alias stands', async () => {
    const response = await ask({ model: 'topic+safe' })
    expect(response.status).toBe(200)
    expect(ChatCompletion.parse(await response.json()).model).toBe('topic+safe')
    expect(response.headers.get('x-quartet-adapter')).toBe(`${digestOf('topic')}+${digestOf('safe')}`)
    const [request] = await sent()
    expect(request).toMatchObject({ adapter: digestOf('topic'), behind: [digestOf('safe')] })
    expect(await (await edge.own(tenant, 'GET', '/models/topic+safe')).json()).toMatchObject({
      id: 'topic+safe',
      adapter: digestOf('topic'),
      behind: [digestOf('safe')],
    })
    await edge.own(tenant, 'PUT', '/aliases/safe', { digest: digestOf('extra') })
    const moved = (await ask({ model: 'topic+safe' })).headers.get('x-quartet-adapter')
    await edge.own(tenant, 'PUT', '/aliases/safe', { digest: digestOf('safe') })
    expect(moved).toBe(`${digestOf('topic')}+${digestOf('extra')}`)
  })

  test('counts the rows of all its parts, under its own name', async () => {
    await stubs.behave({ tokens: byteIds('yes'), reason: 'stop', rows: rowsByDigest() })
    await ask({ models: ['extra+fifth', 'fifth+extra+answer'] })
    await ask({ model: 'fifth+extra' })
    const used = await usageOf()
    const rows = (stack: readonly (keyof typeof rowsOf)[]) => used(stack.join('+'), 'prompt_rows')
    expect(rows(['extra', 'fifth'])).toBe(rowsOf.extra + rowsOf.fifth)
    expect(rows(['fifth', 'extra', 'answer'])).toBe(rowsOf.fifth + rowsOf.extra + rowsOf.answer)
    expect(rows(['fifth', 'extra'])).toBe(rowsOf.fifth + rowsOf.extra)
  })

  test('brings a node every part that it lacks', async () => {
    await stubs.behave({ tokens: byteIds('yes'), adapterMissing: true })
    const response = await ask({ model: 'answer+safe+topic' })
    expect(response.status).toBe(200)
    const node = stubs.addresses().find(({ id }) => id === response.headers.get('x-quartet-node'))
    const calls = node === undefined ? [] : await stubs.callsAt(node)
    const pushed = calls.filter(({ kind }) => kind === 'put-adapter')
    expect(pushed.map(({ digest }) => digest).sort()).toEqual(
      (['answer', 'safe', 'topic'] as const).map(digestOf).sort(),
    )
  })

  test('takes the alias’s own adapter where its canary cannot stand there, and so do several answers', async () => {
    const canary = { digest: tenant.adapter.digest, percent: 99 }
    const begun = await edge.own(tenant, 'PUT', '/aliases/topic/canary', canary)
    expect(begun.status).toBe(200)
    const adapters = async (body: object) => (await ask(body)).headers.get('x-quartet-adapter')
    for (let at = 0; at < 4; at++) {
      expect(await adapters({ model: 'safe+topic' })).toBe(`${digestOf('safe')}+${digestOf('topic')}`)
      expect(await adapters({ models: ['topic', 'safe'] })).toBe(`${digestOf('topic')}, ${digestOf('safe')}`)
    }
    const report = await (await edge.own(tenant, 'GET', '/aliases/topic/canary')).json()
    // No trial: nothing chose between the two.
    expect(report).toMatchObject({ stable: { requests: 0 }, canary: { requests: 0 } })
    // A side that is asked for by name is what it is.
    const named = await ask({ model: 'safe+topic@canary' })
    expect(named.status).toBe(400)
    expect(ErrorBody.parse(await named.json()).error.param).toBe('model')
    expect((await edge.own(tenant, 'DELETE', '/aliases/topic/canary')).status).toBe(200)
  })

  test('of the longest names, by their sides, is asked for and its usage is listed page by page', async () => {
    const names = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(64))
    for (const [at, name] of names.entries()) {
      const { file } = await makeAdapter({ backbone: workerBackbone, seed: 130 + at, rows: 1, tail })
      expect((await edge.own(tenant, 'POST', `/adapters?alias=${name}`, file)).status).toBe(201)
      const canary = { digest: digestOf('extra'), percent: 50 }
      expect((await edge.own(tenant, 'PUT', `/aliases/${name}/canary`, canary)).status).toBe(200)
    }
    const model = names.map((name, at) => `${name}@${at === 0 ? 'stable' : 'canary'}`).join('+')
    expect((await ask({ model })).status).toBe(200)
    expect((await ask({ model: names.join('+') })).status).toBe(200)
    expect((await ask({ model: `${model}x` })).status).toBe(400)
    const wanted = [model, names.join('+')]
    const pages = async (of: (after: string) => Promise<Response>) => {
      const listed: string[] = []
      for (let after = ''; ; ) {
        const page = UsageList.parse(await (await of(after)).json())
        listed.push(...page.data.map((row) => row.model))
        if (!page.has_more) return listed.filter((name) => wanted.includes(name)).toSorted()
        after = `&after=${encodeURIComponent(page.last_id ?? '')}`
      }
    }
    for (const of of [
      (after: string) => edge.own(tenant, 'GET', `/usage?limit=1${after}`),
      (after: string) => edge.admin('GET', `/usage?limit=1&tenant=${tenant.id}${after}`),
      (after: string) => edge.admin('GET', `/usage?limit=1${after}`),
    ])
      await expect.poll(() => pages(of)).toEqual(wanted.toSorted())
  })

  test('may be one of several that answer together', async () => {
    const { choices } = ChatCompletion.parse(await (await ask({ models: ['safe', 'topic+answer'] })).json())
    expect(choices.map(({ model }) => model)).toEqual(['safe', 'topic+answer'])
  })

  test.each([
    ['safe+nobody', 404, 'model_not_found', 'nobody'],
    ['safe+tone', 400, 'invalid_request', "tone has rows at the prompt's start"],
    ['safe+tiny', 400, 'invalid_request', 'tiny is an untuned model'],
    ['safe+', 400, 'invalid_request', 'has no name on one side of a +'],
    ['+', 400, 'invalid_request', 'has no name on one side of a +'],
    ['safe+safe', 400, 'invalid_request', 'twice'],
    ['safe+safe@stable', 400, 'invalid_request', '"safe" twice'],
    ['safe@canary+topic+safe@stable', 400, 'invalid_request', '"safe" twice'],
    ['safe+topic+answer+extra+fifth', 400, 'invalid_request', 'at most 4'],
  ])('%s is refused, by name', async (model, status, code, words) => {
    const refused = await refusal({ model })
    expect(refused).toMatchObject({ status, code, param: 'model' })
    expect(refused.message).toContain(words)
  })

  test('whose rows, prompt and answer are over the context is refused with all its rows counted', async () => {
    await ask({ model: 'safe' })
    const prompt = (await sent())[0]?.prompt.length ?? 0
    await stubs.behave({ tokens: byteIds('yes') })
    const model = 'safe+topic+answer'
    const max_tokens = workerBackbone.contextLength - prompt - 9
    const refused = await refusal({ model, max_tokens: max_tokens + 1 })
    expect(refused.code).toBe('context_length_exceeded')
    expect(refused.message).toContain('9 of the adapters')
    expect((await ask({ model, max_tokens })).status).toBe(200)
  })

  test('tells no log-probabilities of a prompt', async () => {
    const response = await edge.complete(tenant, {
      model: 'safe+topic',
      prompt: 'a prompt that is long enough',
      echo: true,
      logprobs: 1,
    })
    expect(response.status).toBe(400)
    expect(ErrorBody.parse(await response.json()).error.message).toContain('stacked')
  })
})

async function usageOf() {
  const { data } = (await (await edge.own(tenant, 'GET', '/usage')).json()) as {
    data: readonly Record<string, string | number>[]
  }
  return (model: string, field: string) => Number(data.find((row) => row.model === model)?.[field] ?? 0)
}
