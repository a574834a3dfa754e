import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeAll, expect, test, vi } from 'vitest'
import { CreateKeyResponse } from '../../shared/api/admin.ts'
import { BudgetReport, UsageList } from '../../shared/api/usage.ts'
import { Settlement } from '../../shared/settlement.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()

beforeAll(async () => {
  await edge.seedBackbone()
  await stubs.behave({ tokens: byteIds('four'), reason: 'length' })
})

afterEach(() => {
  vi.useRealTimers()
})

/** Deletes a tenant; its name is free again. */
async function remove({ id }: Pick<TestTenant, 'id'>): Promise<void> {
  expect((await edge.admin('DELETE', `/tenants/${id}`)).status).toBe(204)
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 5_000 })
}

const ask = (of: Pick<TestTenant, 'key'>) => edge.complete(of, { prompt: 'hello', max_tokens: 4 })
const budgetOf = async (id: string) =>
  BudgetReport.parse(await (await edge.admin('GET', `/tenants/${id}/budget`)).json())
const usageOf = async (of: Pick<TestTenant, 'key'>) =>
  UsageList.parse(await (await edge.own(of, 'GET', '/usage')).json()).data
const pastOf = async (id: string) =>
  UsageList.parse(await (await edge.admin('GET', `/usage?tenant=${id}`)).json()).data

test('a tenant that takes a deleted one’s name begins with nothing spent, held or used, whoever settles late', async () => {
  const old = await edge.seedTenant()
  const policy = { tokensPerDay: 10_000 }
  await edge.admin('PATCH', `/tenants/${old.id}`, { policy })
  // A steady load, so that this isolate holds a lease when the tenant goes.
  for (let i = 0; i < 20; i++) expect((await ask(old)).status).toBe(200)
  await expect.poll(async () => (await usageOf(old))[0]?.requests).toBe(20)
  const spentBefore = (await budgetOf(old.id)).spent.day
  const each = spentBefore / 20
  const lastCall = (await stubs.calls()).at(-1)

  await remove(old)
  const created = await edge.admin('POST', '/tenants', { id: old.id, policy: { tokensPerDay: 3 * each } })
  expect(created.status).toBe(201)
  vi.useRealTimers()
  const minted = await edge.admin('POST', `/tenants/${old.id}/keys`, {})
  const heir = CreateKeyResponse.parse(await minted.json())
  expect(await budgetOf(old.id)).toMatchObject({ spent: { day: 0, month: 0 }, held: { tokens: 0 } })
  expect(await usageOf(heir)).toEqual([])

  // A node's late word on the old tenant's request: for the operator's record only.
  const { requestId, settlement } = GenerateRequest.parse(lastCall?.body)
  const late = Settlement.parse({
    ...settlement,
    id: `${requestId}.3.0`,
    requestId,
    tenant: old.id,
    usage: { promptTokens: 5, completionTokens: 4 },
    outcome: 'stop',
    firstTokenMs: 5,
    endedAt: Date.now(),
  })
  await env.BUDGETS.get(env.BUDGETS.idFromName(old.id)).settle([late])
  expect((await budgetOf(old.id)).spent).toEqual({ day: 0, month: 0 })

  const statuses = []
  for (let i = 0; i < 5; i++) statuses.push((await ask(heir)).status)
  expect(statuses).toEqual([200, 200, 200, 429, 429])
  await expect.poll(async () => (await budgetOf(old.id)).spent.day).toBe(3 * each)
  expect((await usageOf(heir)).map(({ requests }) => requests)).toEqual([3])
  const past = await pastOf(old.id)
  expect(past.map(({ requests }) => requests).toSorted()).toEqual([20, 3])
  expect(past.reduce((sum, { total_tokens }) => sum + total_tokens, 0)).toBe(spentBefore + each + 3 * each)
})

test.each(['a new name', 'a deleted tenant’s name'])(
  'of several that create a tenant of %s at once one does, the others get 409',
  async (name) => {
    const id = name === 'a new name' ? 'at-once' : (await edge.seedTenant()).id
    if (name !== 'a new name') await remove({ id })
    const answers = await Promise.all(
      [1, 2, 3, 4].map(() => new TestEdge().admin('POST', '/tenants', { id })),
    )
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 409, 409, 409])
    for (const answer of answers)
      if (answer.status === 409) expect(await answer.json()).toMatchObject({ error: { code: 'conflict' } })
  },
)

test('a shadow of a deleted tenant’s last request takes nothing of what shadows of the next tenant may use', async () => {
  const old = await edge.seedTenant()
  const policy = { shadowTokensPerDay: 1_000 }
  await edge.admin('PATCH', `/tenants/${old.id}`, { policy })
  const tail = 1 + 'assistant\n'.length
  const publish = async (seed: number) => {
    const { digest, file } = await makeAdapter({ backbone: workerBackbone, seed, tail })
    await edge.own(old, 'PUT', `/adapters/${digest}`, file)
    return digest
  }
  await edge.own(old, 'PUT', '/aliases/late', { digest: await publish(800) })
  const shadow = { digest: await publish(801), percent: 100 }
  expect((await edge.own(old, 'PUT', '/aliases/late/shadow', shadow)).status).toBe(200)
  await stubs.behave({ tokens: byteIds('four'), reason: 'length', delayMs: 100 })
  const answer = await edge.chat(old, { model: 'late', max_tokens: 4, stream: true })
  await remove(old)
  expect((await edge.admin('POST', '/tenants', { id: old.id, policy })).status).toBe(201)
  vi.useRealTimers()
  await answer.text()
  const budget = env.BUDGETS.get(env.BUDGETS.idFromName(old.id))
  const spent = () =>
    runInDurableObject(budget, (_, { storage }) => storage.sql.exec('SELECT * FROM shadow_spent').toArray())
  await expect.poll(async () => (await pastOf(old.id)).map(({ requests }) => requests)).toEqual([1])
  expect(await spent()).toEqual([])
})
