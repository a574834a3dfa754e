import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { ErrorBody } from '../../shared/errors.ts'
import type { GenerateRequest } from '../../shared/wire.ts'
import { readSse, stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import type { StubBehaviour } from '../../test/fakes/stub-behaviour.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'
import { silentMs } from './first-answer.ts'

let tenant: TestTenant
let edge: TestEdge
let first: { id: string; url: string }
let second: { id: string; url: string }

beforeAll(async () => {
  const admin = new TestEdge()
  await admin.seedBackbone()
  tenant = await admin.seedTenant()
  ;[first, second] = stubs.preferredBy(tenant.adapter)
})
beforeEach(async () => {
  edge = new TestEdge()
  await stubs.behave({ tokens: byteIds('fine') })
})

const nowhere = (id: string) => ({ id, url: 'http://127.0.0.1:9' })
const errorOf = async (response: Response) => (await response.json<ErrorBody>()).error
const content = async (response: Response) =>
  (await response.json<{ choices: [{ message: { content: string } }] }>()).choices[0].message.content

interface ChatAnswer {
  readonly choices: readonly { readonly message: { readonly content: string } }[]
}

/** The text of each choice of a stream that ended well. */
async function textsOf(response: Response): Promise<string[]> {
  const texts: string[] = []
  const events = await readSse(response)
  expect(events.pop()).toBe('[DONE]')
  for (const event of events) {
    const [choice] = JSON.parse(event).choices
    texts[choice.index] = (texts[choice.index] ?? '') + (choice.delta.content ?? '')
  }
  return texts
}

test('requests of one adapter go to the same node', async () => {
  for (let i = 0; i < 5; i++) expect((await edge.chat(tenant)).headers.get('x-quartet-node')).toBe(first.id)
})

test('calls of a node share its connections, so that none pays for a new one', async () => {
  await stubs.behave({ tokens: byteIds('fine') })
  for (let i = 0; i < 6; i++) {
    expect(await content(await edge.chat(tenant))).toBe('fine')
    expect(await textsOf(await edge.chat(tenant, { stream: true }))).toEqual(['fine'])
  }
  await vi.waitFor(async () => expect(await stubs.calls()).toHaveLength(12))
  expect(new Set((await stubs.calls()).map(({ connection }) => connection)).size).toBeLessThan(6)
})

test('a node that says no end behind its last event is left after a moment', async () => {
  await stubs.behave({ tokens: byteIds('fine'), neverEnds: true })
  expect(await content(await edge.chat(tenant))).toBe('fine')
  await vi.waitFor(async () => expect((await stubs.calls())[0]?.aborted).toBe(true))
})

test('a node that closes its idle connections is no failed node', async () => {
  await stubs.behave({ tokens: byteIds('fine'), cutsReused: true })
  for (let i = 0; i < 6; i++) {
    const response = await edge.chat(tenant)
    expect(response.headers.get('x-quartet-node')).toBe(first.id)
    expect(response.headers.get('x-quartet-retries')).toBe('0')
    expect(await content(response)).toBe('fine')
  }
})

test('requests of the untuned model spread', async () => {
  const nodes = new Set<string | null>()
  for (let i = 0; i < 20; i++)
    nodes.add((await edge.chat(tenant, { model: 'tiny' })).headers.get('x-quartet-node'))
  expect(nodes.size).toBe(2)
})

describe('before the first token the other node takes over', () => {
  const failures: Record<string, StubBehaviour> = {
    'that fails': { tokens: [], refuse: { status: 500, code: 'internal_error' } },
    'that drains': { tokens: [], refuse: { status: 503, code: 'draining' } },
    'that is full': { tokens: [], refuse: { status: 429, code: 'queue_full', retryAfter: 7 } },
    'that has another backbone': { tokens: [], refuse: { status: 400, code: 'backbone_mismatch' } },
    'that sends garbage': { tokens: [], garbage: '<html>\n' },
    'that sends an event of another kind': { tokens: [], garbage: '{"type":"surprise"}\n' },
    'that ends at once': { tokens: [], garbage: '' },
    'whose refusal has no end': {
      tokens: [],
      refuse: { status: 500, code: 'internal_error', endless: true },
    },
    'that sends a token outside the vocabulary': { tokens: [40_000] },
    'that sends a token below 0': { tokens: [-1] },
    'that counts tokens it did not send': { tokens: byteIds('x'), miscounts: { completion: 1000 } },
    'that counts fewer tokens than it sent': { tokens: byteIds('x'), miscounts: { completion: -1 } },
    'that counts another prompt': { tokens: byteIds('x'), miscounts: { prompt: 1 } },
    'that dies': { tokens: byteIds('x'), dieAfter: 0 },
    'that reports an error': { tokens: byteIds('x'), failAfter: { tokens: 0, code: 'internal_error' } },
  }
  test.each(Object.entries(failures))('from one %s', async (_name, behaviour) => {
    await stubs.behaveAt(first, behaviour)
    const response = await edge.chat(tenant)
    expect(response.status).toBe(200)
    expect(response.headers.get('x-quartet-node')).toBe(second.id)
    expect(response.headers.get('x-quartet-retries')).toBe('1')
    expect(await content(response)).toBe('fine')
  })

  test('from one that cannot be reached', async () => {
    edge = new TestEdge({ QUARTET_NODES: JSON.stringify([nowhere(first.id), second]) })
    const response = await edge.chat(tenant)
    expect(response.headers.get('x-quartet-node')).toBe(second.id)
    expect(response.headers.get('x-quartet-retries')).toBe('1')
  })

  test('with a token of its own for each attempt', async () => {
    await stubs.behaveAt(first, { tokens: [], refuse: { status: 500, code: 'internal_error' } })
    await edge.chat(tenant)
    const tokens = (await stubs.calls()).map(({ authorization }) => authorization)
    expect(new Set(tokens).size).toBe(2)
  })

  test('and is asked first until the other has rested', async () => {
    await stubs.behaveAt(first, { tokens: [], refuse: { status: 500, code: 'internal_error' } })
    await edge.chat(tenant)
    const again = await edge.chat(tenant)
    expect(again.headers.get('x-quartet-node')).toBe(second.id)
    expect(again.headers.get('x-quartet-retries')).toBe('0')
  })
})

test.each([0, 2])(
  'an adapter whose weights give no numbers, after %i tokens, is asked of no other node and counts against none',
  async (tokens) => {
    await stubs.behave({ tokens: byteIds('abc'), failAfter: { tokens, code: 'adapter_unusable' } })
    for (let request = 0; request < 6; request++) {
      const response = await edge.chat(tenant)
      expect(response.status).toBe(422)
      expect(await response.json()).toMatchObject({
        error: { code: 'adapter_unusable', message: expect.stringMatching(/roll the alias back/) },
      })
    }
    expect(await stubs.callsAt(first)).toHaveLength(6)
    expect(await stubs.callsAt(second)).toEqual([])
  },
)

test('a node that redirects sees its call’s token go nowhere else', async () => {
  const location = `${second.url}/v1/generate`
  await stubs.behaveAt(first, { tokens: [], refuse: { status: 307, code: 'moved', location } })
  expect((await edge.chat(tenant)).headers.get('x-quartet-node')).toBe(second.id)
  expect(await stubs.callsAt(second)).toHaveLength(1)
})

describe('a node that does not keep to what it was asked for', () => {
  const broken: [string, StubBehaviour, string][] = [
    ['sends more tokens', { tokens: byteIds('abcdef'), delayMs: 5, overruns: true }, 'abcd'],
    ['sends more tokens at once', { tokens: byteIds('abcdef'), overruns: true }, 'abcd'],
    ['sends a token outside the vocabulary', { tokens: [...byteIds('ab'), 40_000], delayMs: 5 }, 'ab'],
    ['counts wrongly', { tokens: byteIds('abcd'), delayMs: 5, miscounts: { completion: 96 } }, 'abcd'],
  ]
  test.each(broken)('and %s is avoided; its stream ends with an error and what was seen', async (...of) => {
    const [, behaviour, text] = of
    await stubs.behaveAt(first, behaviour)
    const response = await edge.chat(tenant, { stream: true, max_tokens: 4 })
    const events = (await readSse(response)).map((event) => JSON.parse(event))
    expect(events.pop()).toMatchObject({
      error: { code: 'node_error' },
      usage: { completion_tokens: text.length },
    })
    expect(events.map((chunk) => chunk.choices[0].delta.content).join('')).toBe(text)
    expect((await edge.chat(tenant)).headers.get('x-quartet-node')).toBe(second.id)
  })
})

describe('an answer of which the client has seen nothing begins again elsewhere', () => {
  const broken: Record<string, StubBehaviour> = {
    dies: { tokens: byteIds('half done'), delayMs: 5, dieAfter: 4 },
    'reports an error': {
      tokens: byteIds('half done'),
      delayMs: 5,
      failAfter: { tokens: 4, code: 'internal_error' },
    },
  }

  test.each(Object.entries(broken))('when it is not streamed and its node %s', async (_name, behaviour) => {
    await stubs.behaveAt(first, behaviour)
    const response = await edge.chat(tenant)
    expect(response.status).toBe(200)
    expect(response.headers.get('x-quartet-node')).toBe(second.id)
    expect(response.headers.get('x-quartet-retries')).toBe('1')
    const answer = await response.json<{ choices: [{ message: { content: string } }]; usage: object }>()
    expect(answer.choices[0].message.content).toBe('fine')
    expect(answer.usage).toMatchObject({ completion_tokens: 4 })
    const settlements = (await stubs.calls()).map(({ body }) => (body as GenerateRequest).settlement?.id)
    expect(settlements.map((id) => id?.slice(id.indexOf('.'))).toSorted()).toEqual(['.0.0', '.0.1'])
  })

  test.each([false, true])('when it has several choices (streamed: %s)', async (stream) => {
    const [dying, slow] = stubs.addresses()
    if (dying === undefined || slow === undefined) throw new Error('unreachable')
    await stubs.behaveAt(dying, { tokens: byteIds('half done'), delayMs: 5, dieAfter: 4 })
    await stubs.behaveAt(slow, { tokens: byteIds('fine'), headDelayMs: 300 })
    const response = await edge.chat(tenant, { model: 'tiny', n: 2, stream })
    expect(response.status).toBe(200)
    expect(response.headers.get('x-quartet-node')).toBe(slow.id)
    expect(await stubs.callsAt(dying)).toHaveLength(1)
    const texts = stream
      ? await textsOf(response)
      : (await response.json<ChatAnswer>()).choices.map(({ message }) => message.content)
    expect(texts).toEqual(['fine', 'fine'])
  })

  test('but not when the next may not be asked: the client has its error', async () => {
    await stubs.behaveAt(second, { tokens: [], refuse: { status: 400, code: 'context_length_exceeded' } })
    await stubs.behaveAt(first, { tokens: byteIds('half done'), delayMs: 5, dieAfter: 4 })
    expect((await edge.chat(tenant)).status).toBe(400)
    await stubs.behaveAt(first, {
      tokens: byteIds('half'),
      delayMs: 5,
      failAfter: { tokens: 1, code: 'deadline_exceeded' },
    })
    edge = new TestEdge()
    expect((await edge.chat(tenant)).status).toBe(504)
  })

  test('and draws on the same budget as other retries', async () => {
    await stubs.behave({ tokens: byteIds('half'), failAfter: { tokens: 2, code: 'internal_error' } })
    for (let i = 0; i < 40; i++) expect((await edge.chat(tenant)).status).toBe(502)
    const calls = (await stubs.calls()).length
    expect(calls).toBeGreaterThanOrEqual(50)
    expect(calls).toBeLessThanOrEqual(54)
  })
})

describe('when no node can answer', () => {
  test('all full: 429 with the time to wait', async () => {
    await stubs.behave({ tokens: [], refuse: { status: 429, code: 'queue_full', retryAfter: 7 } })
    const response = await edge.chat(tenant)
    expect(response.status).toBe(429)
    expect(response.headers.get('retry-after')).toBe('7')
    expect(await errorOf(response)).toMatchObject({ code: 'queue_full', type: 'rate_limit_error' })
  })

  test('all full, for several choices: 429 without a time, as a queue tells when it has room for one', async () => {
    await stubs.behave({ tokens: [], refuse: { status: 429, code: 'queue_full', retryAfter: 7 } })
    const response = await edge.chat(tenant, { n: 2 })
    expect(response.status).toBe(429)
    expect(response.headers.get('retry-after')).toBeNull()
    expect((await errorOf(response)).code).toBe('queue_full')
  })

  test('none reachable: 503', async () => {
    edge = new TestEdge({ QUARTET_NODES: JSON.stringify([nowhere('a'), nowhere('b')]) })
    const response = await edge.chat(tenant, { stream: true })
    expect(response.status).toBe(503)
    expect((await errorOf(response)).code).toBe('node_unavailable')
  })

  test('a lone node whose connection broke is asked once more', async () => {
    edge = new TestEdge({ QUARTET_NODES: JSON.stringify([nowhere('a')]) })
    expect((await edge.chat(tenant)).status).toBe(503)
    edge = new TestEdge({ QUARTET_NODES: JSON.stringify([first]) })
    await stubs.behaveAt(first, { tokens: [], refuse: { status: 500, code: 'internal_error' } })
    expect((await errorOf(await edge.chat(tenant))).code).toBe('node_error')
    expect(await stubs.callsAt(first)).toHaveLength(1)
  })

  test('too long for each listed node: asked of each once, and from then on refused by one', async () => {
    await stubs.behave({ tokens: [], refuse: { status: 400, code: 'context_length_exceeded' } })
    for (const calls of [2, 3]) {
      const response = await edge.chat(tenant)
      expect(response.status).toBe(400)
      expect((await errorOf(response)).code).toBe('context_length_exceeded')
      expect(await stubs.calls()).toHaveLength(calls)
    }
  })

  test('retries stop when their budget is spent', async () => {
    await stubs.behave({ tokens: [], refuse: { status: 500, code: 'internal_error' } })
    for (let i = 0; i < 40; i++) await edge.chat(tenant)
    const calls = (await stubs.calls()).length
    expect(calls).toBeGreaterThanOrEqual(50)
    expect(calls).toBeLessThanOrEqual(54)
  })

  test('the node’s own words stay inside', async () => {
    await stubs.behave({ tokens: [], refuse: { status: 500, code: 'internal_error' } })
    expect((await errorOf(await edge.chat(tenant))).message).not.toMatch(/as asked|stub/)
  })
})

describe('after the first token', () => {
  test.each([
    ['dies', { tokens: byteIds('half done'), delayMs: 5, dieAfter: 4 }, 'node_error'],
    [
      'reports an error',
      { tokens: byteIds('half done'), delayMs: 5, failAfter: { tokens: 4, code: 'internal_error' } },
      'node_error',
    ],
    [
      'passes the deadline',
      { tokens: byteIds('half done'), delayMs: 5, failAfter: { tokens: 4, code: 'deadline_exceeded' } },
      'deadline_exceeded',
    ],
  ])('a node that %s ends the stream with an error event and no [DONE]', async (_name, behaviour, code) => {
    await stubs.behave(behaviour)
    const events = (await readSse(await edge.chat(tenant, { stream: true }))).map((event) =>
      JSON.parse(event),
    )
    expect(events.pop()).toMatchObject({
      error: { code, type: 'server_error' },
      usage: { completion_tokens: 4, prompt_tokens: expect.any(Number) },
    })
    expect(events.map((chunk) => chunk.choices[0].delta.content).join('')).toBe('half')
    expect(await stubs.calls()).toHaveLength(1)
  })

  test('a node that falls silent ends the stream with an error event and the usage so far', async () => {
    await stubs.behave({ tokens: byteIds('half done'), delayMs: 5, fallSilentAfter: 4 })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    try {
      edge = new TestEdge({ QUARTET_REQUEST_TIMEOUT_MS: '300000' })
      const response = await edge.chat(tenant, { stream: true })
      const [seen, read] = response.body?.pipeThrough(new TextDecoderStream()).tee() ?? []
      let content = ''
      for await (const piece of seen ?? []) {
        content += [...piece.matchAll(/"content":"(.)"/g)].map(([, letter]) => letter).join('')
        if (content === 'half') break
      }
      await vi.advanceTimersByTimeAsync(silentMs)
      const events = await readSse(new Response(read?.pipeThrough(new TextEncoderStream())))
      expect(JSON.parse(events.at(-1) ?? '')).toMatchObject({
        error: { code: 'node_error' },
        usage: { completion_tokens: 4 },
      })
      await expect.poll(async () => (await stubs.calls()).map(({ aborted }) => aborted)).toEqual([true])
    } finally {
      vi.useRealTimers()
    }
  })

  test('a node that dies makes an answer that is not streamed a 502', async () => {
    await stubs.behave({ tokens: byteIds('half done'), delayMs: 5, dieAfter: 4 })
    const response = await edge.chat(tenant)
    expect(response.status).toBe(502)
    expect((await errorOf(response)).code).toBe('node_error')
  })

  test('the failure of one choice stops the others', async () => {
    await stubs.behaveAt(second, { tokens: [], refuse: { status: 500, code: 'internal_error' } })
    await stubs.behaveAt(first, {
      tokens: byteIds('x'.repeat(300)),
      delayMs: 10,
      failAfter: { tokens: 3, code: 'internal_error' },
    })
    expect((await edge.chat(tenant, { n: 2 })).status).toBe(502)
    const sent = (await stubs.calls()).map((call) => call.sent)
    expect(Math.max(...sent)).toBeLessThan(10)
  })
})

test('a node that never answers is cut off at the deadline', async () => {
  edge = new TestEdge({ QUARTET_REQUEST_TIMEOUT_MS: '200' })
  await stubs.behave({ tokens: byteIds('late'), headDelayMs: 4000 })
  const response = await edge.chat(tenant)
  expect(response.status).toBe(504)
  expect((await errorOf(response)).code).toBe('deadline_exceeded')
})
