import { describe, expect, test } from 'vitest'
import { newRequestId, settlementId, TenantId } from '../../shared/ids.ts'
import { greedySampling } from '../../shared/wire.ts'
import { fakeBackbone } from '../../test/fakes/fake-backend.ts'
import { Settlements } from './settlements.ts'

const tenant = TenantId.parse('acme')
const other = TenantId.parse('other')

function engineRequest(owner = tenant) {
  const requestId = newRequestId()
  return {
    tenant: owner,
    adapter: null,
    signal: new AbortController().signal,
    request: {
      requestId,
      backbone: fakeBackbone,
      adapter: null,
      prompt: [1, 2],
      maxTokens: 4,
      sampling: greedySampling,
      stopTokens: [],
      logprobs: null,
      timeoutMs: 1000,
      settlement: { id: settlementId({ requestId, choice: 0, attempt: 0 }), terms: 'm' },
    },
  }
}

const usage = { promptTokens: 2, completionTokens: 3 }
const timings = { queueMs: 1, prefillMs: 2, decodeMs: 3 }
const end = (settlements: Settlements, owner = tenant) => {
  const work = engineRequest(owner)
  settlements.begin(work)
  settlements.ended({ outcome: 'stop', engineRequest: work, usage, timings })
  return work.request.settlement.id
}

describe('a finished generation', () => {
  test('is kept with the node’s own counts until it is acknowledged', () => {
    const settlements = new Settlements()
    const id = end(settlements)
    expect(settlements.answer({ acknowledge: [], collect: [id] }, tenant).settlements).toMatchObject([
      { id, tenant, terms: 'm', usage, outcome: 'stop', firstTokenMs: 3 },
    ])
    settlements.acknowledge([id])
    expect(settlements.count).toBe(0)
  })

  test('is neither shown to nor forgotten for another tenant', () => {
    const settlements = new Settlements()
    const id = end(settlements)
    expect(settlements.answer({ acknowledge: [id], collect: [id] }, other)).toEqual({
      settlements: [],
      running: [],
    })
    expect(settlements.count).toBe(1)
  })

  test('is offered after ten seconds, and again ten seconds later, so that one that cannot be charged blocks none', () => {
    let now = 0
    const settlements = new Settlements({ now: () => now })
    const first = end(settlements)
    expect(settlements.unacknowledged(1)).toEqual([])
    now = 10_000
    const second = end(settlements)
    expect(settlements.unacknowledged(5).map(({ id }) => id)).toEqual([first])
    expect(settlements.unacknowledged(5)).toEqual([])
    now = 20_000
    expect(settlements.unacknowledged(5).map(({ id }) => id)).toEqual([first, second])
  })

  test('is offered at once when the node leaves, page after page, and again when nobody took it', () => {
    const settlements = new Settlements()
    const [first, second, third] = [end(settlements), end(settlements), end(settlements)]
    settlements.leave()
    const page = () => settlements.unacknowledged(2).map((settlement) => settlement.id)
    expect(page()).toEqual([first, second])
    settlements.acknowledge([second])
    expect(page()).toEqual([third, first])
    expect(page()).toEqual([third, first])
  })

  test('goes when there are too many, the oldest first, and that is told', () => {
    const forgotten: number[] = []
    const settlements = new Settlements({ mostKept: 2, forgot: (count) => forgotten.push(count) })
    const ids = [end(settlements), end(settlements), end(settlements)]
    const { settlements: kept } = settlements.answer({ acknowledge: [], collect: ids }, tenant)
    expect(kept.map(({ id }) => id)).toEqual(ids.slice(1))
    expect(forgotten).toEqual([1])
  })
})

test('a generation that still runs is told as running, one that was refused as nothing', () => {
  const settlements = new Settlements()
  const running = engineRequest()
  const refused = engineRequest()
  settlements.begin(running)
  settlements.begin(refused)()
  const collect = [running.request.settlement.id, refused.request.settlement.id]
  expect(settlements.answer({ acknowledge: [], collect }, tenant)).toEqual({
    settlements: [],
    running: [running.request.settlement.id],
  })
})
