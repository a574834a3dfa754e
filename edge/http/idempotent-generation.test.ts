import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { UsageList } from '../../shared/api/usage.ts'
import type { ErrorBody } from '../../shared/errors.ts'
import { stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { keptCalls } from '../../test/edge/kept-calls.ts'
import { withCalls } from '../../test/edge/stale-store.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
  await stubs.behave({ tokens: byteIds('once') })
})

const ask = (key: string, body: object = {}, of = new TestEdge()) =>
  of.fetch('/v1/completions', {
    method: 'POST',
    headers: { authorization: `Bearer ${tenant.key}`, 'idempotency-key': key },
    body: JSON.stringify({ model: 'tiny', prompt: 'hello', max_tokens: 4, ...body }),
  })
const codeOf = async (response: Response) => (await response.json<ErrorBody>()).error.code
const generated = async () => (await stubs.calls()).length

test('the same Idempotency-Key twice at once runs once; the second is told so', async () => {
  await stubs.behave({ tokens: byteIds('once'), delayMs: 100 })
  const answers = await Promise.all([ask('k1'), ask('k1')])
  expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409])
  const refused = answers.find(({ status }) => status === 409)
  expect(refused && (await codeOf(refused))).toBe('idempotency_conflict')
  expect(await generated()).toBe(1)
})

test('afterwards it gets the first answer again, at any isolate', async () => {
  const answer = await ask('k2', { mood: 'good' })
  const first = await answer.json()
  const again = await ask('k2', { mood: 'good' })
  expect(answer.headers.get('x-quartet-ignored')).toBe('mood')
  expect(again.headers.get('idempotency-replayed')).toBe('true')
  for (const name of ['x-quartet-adapter', 'x-quartet-node', 'x-quartet-retries', 'x-quartet-ignored'])
    expect([name, again.headers.get(name)]).toEqual([name, answer.headers.get(name)])
  expect(await again.json()).toEqual(first)
  expect(await generated()).toBe(1)
})

test('a repeat says of itself what the first answer did: adapter, node, retries, timings', async () => {
  const first = await ask('headers', { model: 'tone' })
  const again = await ask('headers', { model: 'tone' })
  expect(again.headers.get('idempotency-replayed')).toBe('true')
  expect(first.headers.get('x-quartet-adapter')).toBe(tenant.adapter.digest)
  for (const name of ['x-quartet-adapter', 'x-quartet-node', 'x-quartet-retries', 'server-timing'])
    expect([name, again.headers.get(name)]).toEqual([name, first.headers.get(name)])
  expect(again.headers.get('x-request-id')).not.toBe(first.headers.get('x-request-id'))
})

test('after a stream it is told that the answer is not kept', async () => {
  await (await ask('k3', { stream: true })).text()
  const again = await ask('k3', { stream: true })
  expect(again.status).toBe(409)
  expect(await codeOf(again)).toBe('idempotency_conflict')
  expect(await generated()).toBe(1)
})

test('after a failure it may be used again', async () => {
  await stubs.behave({ tokens: [], refuse: { status: 500, code: 'internal_error' } })
  expect((await ask('k4')).status).toBe(502)
  await stubs.behave({ tokens: byteIds('once') })
  expect((await ask('k4')).status).toBe(200)
})

test('after a failure, or for what is malformed, nothing is kept', async () => {
  const before = await keptCalls()
  expect((await ask('k6', { prompt: 5 })).status).toBe(400)
  expect((await ask('k7', { model: 'nobody' })).status).toBe(404)
  await stubs.behave({ tokens: [], refuse: { status: 500, code: 'internal_error' } })
  expect((await ask('k8')).status).toBe(502)
  expect(await keptCalls()).toEqual(before)
})

test('for what is malformed is not even looked up', async () => {
  const look = vi.spyOn(env.IDEMPOTENCY, 'get')
  expect((await ask('k9', { temperature: 'hot' })).status).toBe(400)
  expect(look).not.toHaveBeenCalled()
  vi.restoreAllMocks()
})

test('over the limits a kept answer is told, and no other body is looked into', async () => {
  const first = await ask('k11')
  await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { tokensPerDay: 5 } })
  const isolate = new TestEdge()
  await expect.poll(async () => (await ask('k12', {}, isolate)).status).toBe(429)
  const malformed = await ask('k13', { temperature: 'hot' }, isolate)
  expect([malformed.status, await codeOf(malformed)]).toEqual([429, 'budget_exhausted'])
  const again = await ask('k11', {}, isolate)
  expect(again.headers.get('idempotency-replayed')).toBe('true')
  expect(await again.json()).toEqual(await first.json())
})

test('after the operator’s key was changed it is told that the answer cannot be read any more', async () => {
  await ask('k10')
  const again = await ask('k10', {}, new TestEdge({ QUARTET_ADMIN_KEY: 'another-admin-key-0123456789' }))
  expect(again.status).toBe(409)
  expect(await codeOf(again)).toBe('idempotency_conflict')
  expect(await generated()).toBe(1)
})

describe.each([
  ['fails', 1, () => Promise.reject(new Error('the object is overloaded'))],
  ['fails for long', 99, () => Promise.reject(new Error('the object is overloaded'))],
  ['never returns', 1, () => new Promise(() => {})],
])('where writing down the end %s', (what, times, instead) => {
  const forgetful = () => {
    let left = times
    return new TestEdge({
      IDEMPOTENCY: withCalls(env.IDEMPOTENCY, (call, method) => {
        if (method === 'begin' || left === 0) return call()
        left -= 1
        return instead()
      }),
    })
  }

  test.each([false, true])(
    'the answer stands and is charged (stream: %s), and nothing runs twice',
    async (stream) => {
      const key = `lost-${what.replaceAll(' ', '-')}-${stream}`
      const first = await ask(key, { stream }, forgetful())
      expect(first.status).toBe(200)
      expect(await first.text()).toContain(stream ? '[DONE]' : 'once')
      await expect
        .poll(async () => UsageList.parse(await (await edge.own(tenant, 'GET', '/usage')).json()).data)
        .toMatchObject([{ requests: 1, errors: 0, completion_tokens: 4 }])
      const again = await ask(key, { stream })
      expect(await generated()).toBe(1)
      expect([200, 409]).toContain(again.status)
    },
  )
})

test('where writing down the end fails once the answer is kept all the same', async () => {
  let isAway = true
  const isolate = new TestEdge({
    IDEMPOTENCY: withCalls(env.IDEMPOTENCY, (call, method) => {
      if (method === 'begin' || !isAway) return call()
      isAway = false
      return Promise.reject(new Error('the object is overloaded'))
    }),
  })
  const first = await (await ask('kept', {}, isolate)).json()
  expect(await (await ask('kept')).json()).toEqual(first)
  expect(await generated()).toBe(1)
})

test('with another body it is refused; another tenant’s same key is another key', async () => {
  await ask('k5')
  expect((await ask('k5', { prompt: 'other' })).status).toBe(409)
  tenant = await edge.seedTenant()
  expect((await ask('k5', { prompt: 'other' })).status).toBe(200)
})
