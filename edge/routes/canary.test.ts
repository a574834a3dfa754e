import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { CanaryReport } from '../../shared/api/deployments.ts'
import { makeAdapter, type TestAdapter } from '../../test/edge/adapter.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'

const edge = new TestEdge()
let tenant: TestTenant
let second: TestAdapter

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
  second = await publish(500)
  await stubs.behave({ tokens: [97, 98] })
})

afterEach(() => {
  vi.useRealTimers()
})

async function publish(seed: number): Promise<TestAdapter> {
  const adapter = await makeAdapter({ backbone: workerBackbone, seed })
  await edge.own(tenant, 'PUT', `/adapters/${adapter.digest}`, adapter.file)
  return adapter
}

const setCanary = ({ digest }: TestAdapter, percent = 50) =>
  edge.own(tenant, 'PUT', '/aliases/tone/canary', { digest, percent })
const shown = async () =>
  CanaryReport.parse(await (await edge.own(tenant, 'GET', '/aliases/tone/canary')).json())

/** The adapter that answered. */
async function ask(model = 'tone'): Promise<string> {
  const answer = await edge.chat(tenant, { model, max_tokens: 4 })
  expect(answer.status, await answer.clone().text()).toBe(200)
  return answer.headers.get('x-quartet-adapter') ?? ''
}

test('a canary shows how many requests each side answered, since it began, and a new canary counts anew', async () => {
  await setCanary(second)
  const answered: string[] = []
  for (let at = 0; at < 8; at++) answered.push(await ask())
  await setCanary(second, 90)
  for (let at = 0; at < 4; at++) answered.push(await ask())
  const canary = answered.filter((adapter) => adapter === second.digest).length
  const counts = async () => {
    const { canary, percent, stable } = await shown()
    return { percent, canary: canary.requests, stable: stable.requests }
  }
  await expect.poll(counts).toEqual({ percent: 90, canary, stable: answered.length - canary })
  const report = await shown()
  expect(report.canary.completion_tokens + report.stable.completion_tokens).toBe(2 * answered.length)
  expect(report.since.version).toBe(2)
  await setCanary(await publish(501))
  expect(await counts()).toEqual({ percent: 50, canary: 0, stable: 0 })
})

test('a canary is found at once, even by an isolate that knows its alias without it', async () => {
  const isolate = new TestEdge()
  expect((await isolate.chat(tenant)).status).toBe(200)
  await setCanary(second, 1)
  const answer = await isolate.chat(tenant, { model: 'tone@canary' })
  expect(answer.headers.get('x-quartet-adapter')).toBe(second.digest)
  const other = new TestEdge()
  expect((await other.chat(tenant)).status).toBe(200)
  await edge.own(tenant, 'PUT', '/aliases/fresh', { digest: second.digest })
  await edge.own(tenant, 'PUT', '/aliases/fresh/canary', { digest: tenant.adapter.digest, percent: 1 })
  for (const path of ['/aliases/fresh/canary', '/aliases/fresh'])
    expect((await other.own(tenant, 'GET', path)).status, path).toBe(200)
})

test('a canary counts nothing of an alias of the same name whose history is forgotten', async () => {
  await setCanary(second)
  for (let at = 0; at < 4; at++) await ask()
  const requests = async () => {
    const { canary, stable } = await shown()
    return canary.requests + stable.requests
  }
  await expect.poll(requests).toBe(4)
  await edge.own(tenant, 'DELETE', '/aliases/tone')
  const directory = env.TENANTS.get(env.TENANTS.idFromName(tenant.id))
  await runInDurableObject(directory, (_, { storage }) => {
    for (const table of ['deployments', 'past_aliases']) storage.sql.exec(`DELETE FROM ${table}`)
  })
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 })
  await edge.own(tenant, 'PUT', '/aliases/tone', { digest: tenant.adapter.digest })
  await setCanary(second)
  expect((await shown()).since.version).toBe(2)
  expect(await requests()).toBe(0)
})

test('a request may name one side of a canary, which its counts leave out', async () => {
  await setCanary(second, 1)
  expect(await ask('tone@canary')).toBe(second.digest)
  expect(await ask('tone@stable')).toBe(tenant.adapter.digest)
  const { canary, stable } = await shown()
  expect([canary.requests, stable.requests]).toEqual([0, 0])
  await edge.own(tenant, 'DELETE', '/aliases/tone/canary')
  expect(await ask('tone@stable')).toBe(tenant.adapter.digest)
  const refused = await edge.chat(tenant, { model: 'tone@canary' })
  expect([refused.status, await refused.text()]).toEqual([
    404,
    expect.stringContaining('tone has no canary now'),
  ])
  expect((await edge.own(tenant, 'GET', '/aliases/tone/canary')).status).toBe(404)
  expect((await edge.chat(tenant, { model: 'tone@other' })).status).toBe(404)
})

describe('an alias with a canary that answers together with another', () => {
  const tail = 1 + 'assistant\n'.length
  const digests = { stable: '', canary: '', other: '' }

  beforeEach(async () => {
    for (const [at, name] of (['stable', 'canary', 'other'] as const).entries()) {
      const adapter = await makeAdapter({ backbone: workerBackbone, seed: 510 + at, rows: 2 + at, tail })
      await edge.own(tenant, 'PUT', `/adapters/${adapter.digest}`, adapter.file)
      digests[name] = adapter.digest
    }
    await edge.own(tenant, 'PUT', '/aliases/late', { digest: digests.stable })
    await edge.own(tenant, 'PUT', '/aliases/other', { digest: digests.other })
    const set = { digest: digests.canary, percent: 50 }
    expect((await edge.own(tenant, 'PUT', '/aliases/late/canary', set)).status).toBe(200)
  })

  const report = async () =>
    CanaryReport.parse(await (await edge.own(tenant, 'GET', '/aliases/late/canary')).json())
  const errors = async () => {
    const { canary, stable } = await report()
    return { requests: canary.requests + stable.requests, errors: canary.errors + stable.errors }
  }
  const together = (models: readonly string[]) =>
    edge.chat(tenant, { model: undefined, models, max_tokens: 4 })

  test('counts what its side answered, wherever its name stands among them', async () => {
    let canaries = 0
    for (let at = 0; at < 8; at++) {
      const answer = await together(at % 2 === 0 ? ['late', 'other'] : ['other', 'late'])
      if (answer.headers.get('x-quartet-adapter')?.includes(digests.canary)) canaries += 1
    }
    const counts = async () => {
      const { canary, stable } = await report()
      return [canary.requests, canary.completion_tokens, stable.requests, stable.completion_tokens]
    }
    await expect.poll(counts).toEqual([canaries, 2 * canaries, 8 - canaries, 2 * (8 - canaries)])
    await together(['late@canary', 'other'])
    expect((await counts())[0]).toBe(canaries)
  })

  test('answers with both of its sides at once, which are named', async () => {
    const answer = await together(['late@stable', 'late@canary'])
    expect(answer.headers.get('x-quartet-adapter')).toBe(`${digests.stable}, ${digests.canary}`)
  })

  test('counts its own failures, and none of the other’s', async () => {
    const failAfter = { tokens: 0, code: 'adapter_unusable' }
    await stubs.behave({ tokens: [97], delayMs: 100, of: { [digests.other]: { delayMs: 0, failAfter } } })
    for (const models of [
      ['late', 'other'],
      ['other', 'late'],
    ])
      expect((await together(models)).ok).toBe(false)
    await expect.poll(errors).toEqual({ requests: 2, errors: 0 })
    const failing = { delayMs: 0, failAfter }
    await stubs.behave({
      tokens: [97],
      delayMs: 100,
      of: { [digests.stable]: failing, [digests.canary]: failing },
    })
    expect((await together(['other', 'late'])).ok).toBe(false)
    await expect.poll(errors).toEqual({ requests: 3, errors: 1 })
  })

  test('counts nothing of a stack, whose answer is not the work of one part', async () => {
    expect((await edge.chat(tenant, { model: 'late+other', max_tokens: 4 })).status).toBe(200)
    expect((await edge.chat(tenant, { model: 'late', max_tokens: 4 })).status).toBe(200)
    await expect.poll(errors).toEqual({ requests: 1, errors: 0 })
  })
})
