import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { GenerateRequest } from '../../shared/wire.ts'
import { type ChatAnswer, content, textsOf } from '../../test/edge/chat-answers.ts'
import { nowhere, stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { tenantAndNodes } from '../../test/edge/preferred-nodes.ts'
import type { StubBehaviour } from '../../test/fakes/stub-behaviour.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

let tenant: TestTenant
let edge: TestEdge
let first: { id: string; url: string }
let second: { id: string; url: string }

beforeAll(async () => {
  ;({ tenant, first, second } = await tenantAndNodes())
})
beforeEach(async () => {
  edge = new TestEdge()
  await stubs.behave({ tokens: byteIds('fine') })
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
