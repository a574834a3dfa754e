import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { errorOf, nowhere, stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { tenantAndNodes } from '../../test/edge/preferred-nodes.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

let tenant: TestTenant
let edge: TestEdge
let first: { id: string; url: string }

beforeAll(async () => {
  ;({ tenant, first } = await tenantAndNodes())
})
beforeEach(async () => {
  edge = new TestEdge()
  await stubs.behave({ tokens: byteIds('fine') })
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

test('a node that never answers is cut off at the deadline', async () => {
  edge = new TestEdge({ QUARTET_REQUEST_TIMEOUT_MS: '200' })
  await stubs.behave({ tokens: byteIds('late'), headDelayMs: 4000 })
  const response = await edge.chat(tenant)
  expect(response.status).toBe(504)
  expect((await errorOf(response)).code).toBe('deadline_exceeded')
})
