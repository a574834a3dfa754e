import { beforeAll, beforeEach, expect, test } from 'vitest'
import { stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
})
beforeEach(() => stubs.behave({ tokens: byteIds('x'.repeat(400)), delayMs: 10 }))

const body = (extra: object) =>
  JSON.stringify({ model: 'tone', messages: [{ role: 'user', content: 'hi' }], ...extra })
const ask = (extra: object, signal: AbortSignal) =>
  edge.fetch('/v1/chat/completions', {
    method: 'POST',
    headers: { authorization: `Bearer ${tenant.key}` },
    body: body(extra),
    signal,
  })
const aborted = async () => (await stubs.calls()).map((call) => call.aborted)

test('a client that stops reading a stream stops the node', async () => {
  const response = await edge.chat(tenant, { stream: true })
  const reader = response.body?.getReader()
  await reader?.read()
  await reader?.cancel()
  await expect.poll(aborted).toEqual([true])
})

test('a client that leaves during a stream stops every choice', async () => {
  const client = new AbortController()
  const response = await ask({ stream: true, n: 2 }, client.signal)
  expect(response.status).toBe(200)
  client.abort()
  await response.text().catch(() => undefined)
  await expect.poll(aborted).toEqual([true, true])
})

test('a client that leaves while it waits for an answer stops the node', async () => {
  const client = new AbortController()
  const answer = ask({}, client.signal).catch(() => undefined)
  await expect.poll(async () => (await stubs.calls()).length).toBe(1)
  client.abort()
  await answer
  await expect.poll(aborted).toEqual([true])
})

test('a client that leaves before the first token stops the node', async () => {
  await stubs.behave({ tokens: [97], headDelayMs: 3000 })
  const client = new AbortController()
  const answer = ask({ stream: true }, client.signal).catch(() => undefined)
  await expect.poll(async () => (await stubs.calls()).length).toBe(1)
  client.abort()
  await answer
  await expect.poll(aborted, { timeout: 2000 }).toEqual([true])
})
