import { env } from 'cloudflare:workers'
import { beforeAll, beforeEach, expect, test, vi } from 'vitest'
import type { ErrorBody } from '../../shared/errors.ts'
import { byteIds } from '../../test/tiny-tokenizer.ts'
import { stubs, TestEdge, type TestTenant } from '../testing/edge.ts'
import { keptCalls } from '../testing/kept-calls.ts'

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
  const first = await (await ask('k2')).json()
  const again = await ask('k2')
  expect(again.headers.get('idempotency-replayed')).toBe('true')
  expect(await again.json()).toEqual(first)
  expect(await generated()).toBe(1)
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

test('after the operator’s key was changed it is told that the answer cannot be read any more', async () => {
  await ask('k10')
  const again = await ask('k10', {}, new TestEdge({ QUARTET_ADMIN_KEY: 'another-admin-key-0123456789' }))
  expect(again.status).toBe(409)
  expect(await codeOf(again)).toBe('idempotency_conflict')
  expect(await generated()).toBe(1)
})

test('with another body it is refused; another tenant’s same key is another key', async () => {
  await ask('k5')
  expect((await ask('k5', { prompt: 'other' })).status).toBe(409)
  tenant = await edge.seedTenant()
  expect((await ask('k5', { prompt: 'other' })).status).toBe(200)
})
