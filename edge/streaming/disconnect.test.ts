import { beforeAll, beforeEach, expect, test } from 'vitest'
import type { BudgetReport } from '../../shared/api/usage.ts'
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

const parameters = { type: 'object', properties: { city: { type: 'string' } } }
const described = { name: 'look', parameters }
test.each([
  [
    '/v1/chat/completions',
    {
      messages: [{ role: 'user', content: 'hi' }],
      tools: [{ type: 'function', function: described }],
    },
  ],
  ['/v1/responses', { input: 'hi', tools: [{ type: 'function', ...described }] }],
  [
    '/v1/messages',
    {
      messages: [{ role: 'user', content: 'hi' }],
      max_tokens: 100,
      tools: [{ name: 'look', input_schema: parameters }],
    },
  ],
])(
  'a client that leaves in the middle of a call of a function stops the node, holds no tokens and leaves nothing stored: %s',
  async (path, more) => {
    await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { tokensPerDay: 1_000_000 } })
    const call = `{"name": "look", "arguments": {"city": "${'Ulm '.repeat(100)}`
    await stubs.behave({ tokens: byteIds(call), delayMs: 10 })
    const response = await edge.post(path, {
      key: tenant.key,
      body: { model: 'tone', stream: true, ...more },
    })
    const reader = response.body?.getReader()
    let read = ''
    while (!read.includes('look')) {
      const next = await reader?.read()
      if (next?.done !== false) throw new Error(`the stream ended: ${read}`)
      read += new TextDecoder().decode(next.value)
    }
    await reader?.cancel()
    await expect.poll(aborted).toEqual([true])
    const held = async () => {
      const budget = await edge.admin('GET', `/tenants/${tenant.id}/budget`)
      return (await budget.json<BudgetReport>()).held
    }
    await expect.poll(held).toMatchObject({ tokens: 0, slots: 0 })
    const id = /resp_[0-9a-f]+/.exec(read)?.[0]
    if (id !== undefined) expect((await edge.own(tenant, 'GET', `/responses/${id}`)).status).toBe(404)
  },
)
