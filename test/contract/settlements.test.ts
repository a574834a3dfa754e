import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sha256Hex } from '../../shared/digest.ts'
import { newRequestId, settlementId, TenantId } from '../../shared/ids.ts'
import { SettlementsResponse } from '../../shared/settlement.ts'
import { fakeNode, readEvents, refusal, tenant, until } from './node-client.ts'

let node: Awaited<ReturnType<typeof fakeNode>>
beforeAll(async () => {
  node = await fakeNode()
})
afterAll(() => node.close())

const named = () => {
  const requestId = newRequestId()
  return {
    requestId,
    settlement: { id: settlementId({ requestId, choice: 0, attempt: 0 }), terms: 'of the edge' },
  }
}

async function settlements(
  request: { acknowledge?: string[]; collect?: string[] },
  { as = tenant, act = 'settlements' as const }: { as?: TenantId; act?: 'settlements' | 'info' } = {},
): Promise<Response> {
  const body = JSON.stringify({ acknowledge: [], collect: [], ...request })
  return fetch(`${node.url}/v1/settlements`, {
    method: 'POST',
    headers: await node.bearer({ act, tenant: as, body: await sha256Hex(body) }),
    body,
  })
}
const collected = async (...ids: string[]) =>
  SettlementsResponse.parse(await (await settlements({ collect: ids })).json())

describe('a node', () => {
  test('keeps what a generation used until an edge acknowledges it', async () => {
    const { requestId, settlement } = named()
    const events = await readEvents(
      await node.generate({ requestId, settlement, prompt: [1, 2, 3], maxTokens: 4 }),
    )
    const { settlements: kept } = await collected(settlement.id)
    expect(kept).toMatchObject([
      {
        id: settlement.id,
        requestId,
        tenant,
        terms: 'of the edge',
        outcome: 'length',
        usage: { promptTokens: 3, completionTokens: 4 },
      },
    ])
    expect(events.at(-1)).toMatchObject({ type: 'done', usage: kept[0]?.usage })
    await settlements({ acknowledge: [settlement.id] })
    expect(await collected(settlement.id)).toEqual({ settlements: [], running: [] })
  })

  test('forgets what a later call of the same tenant acknowledges', async () => {
    const first = named()
    await readEvents(await node.generate(first))
    await readEvents(await node.generate({ ...named(), acknowledge: [first.settlement.id] }))
    expect(await collected(first.settlement.id)).toEqual({ settlements: [], running: [] })
  })

  test('keeps what ran of a generation whose reader left', async () => {
    const { requestId, settlement } = named()
    const reader = new AbortController()
    node.backend.beforeCall = () => delay(5)
    const response = await node.generate(
      { requestId, settlement, maxTokens: 1_000 },
      { signal: reader.signal },
    )
    await response.body?.getReader().read()
    expect((await collected(settlement.id)).running).toEqual([settlement.id])
    reader.abort()
    node.backend.beforeCall = () => {}
    await until(async () => (await collected(settlement.id)).settlements.length === 1)
    const { settlements: kept } = await collected(settlement.id)
    expect(kept[0]).toMatchObject({ outcome: 'client_closed_request', usage: { promptTokens: 3 } })
    expect(kept[0]?.usage.completionTokens).toBeGreaterThan(0)
  })

  test('tells another tenant nothing, and forgets nothing for it', async () => {
    const { requestId, settlement } = named()
    await readEvents(await node.generate({ requestId, settlement }))
    const other = await settlements(
      { acknowledge: [settlement.id], collect: [settlement.id] },
      { as: TenantId.parse('other') },
    )
    expect(await other.json()).toEqual({ settlements: [], running: [] })
    expect((await collected(settlement.id)).settlements).toHaveLength(1)
  })

  test('keeps nothing of a call it refused', async () => {
    const { requestId, settlement } = named()
    const refused = await node.generate({ requestId, settlement, maxTokens: 200_000 })
    expect((await refusal(refused)).code).toBe('context_length_exceeded')
    expect(await collected(settlement.id)).toEqual({ settlements: [], running: [] })
  })

  test('refuses a token for something else, and ids that are none', async () => {
    expect((await refusal(await settlements({}, { act: 'info' }))).code).toBe('invalid_node_token')
    expect(await refusal(await settlements({ collect: ['../x'] }))).toMatchObject({
      status: 400,
      param: 'collect[0]',
    })
  })
})
