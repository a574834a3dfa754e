import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { errorOf, readSse, stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { tenantAndNodes } from '../../test/edge/preferred-nodes.ts'
import type { StubBehaviour } from '../../test/fakes/stub-behaviour.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'
import { silentMs } from './first-answer.ts'

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
