import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TenantId } from '../../shared/ids.ts'
import { Queue } from './queue.ts'

interface Waiting {
  readonly tenant: TenantId
  readonly rows: number
}

const greedy = TenantId.parse('greedy')
const modest = TenantId.parse('modest')
const item = (tenant: TenantId, rows = 10): Waiting => ({ tenant, rows })
const roomy = { total: 1000, perTenant: 1000 }

/** Takes `count` requests, charging each its rows as a scheduler would. */
function admit(queue: Queue<Waiting>, count: number): TenantId[] {
  return Array.from({ length: count }, () => {
    const taken = queue.shift()
    if (taken === undefined) throw new Error('the queue is empty')
    queue.charge(taken.tenant, taken.rows)
    return taken.tenant
  })
}

describe('the queue', () => {
  it('admits a tenant’s requests by their own priority, the oldest of one number first, without a place more', () => {
    const queue = new Queue<Waiting & { readonly ownPriority?: number; readonly name: string }>(roomy)
    const push = (name: string, tenant: TenantId, ownPriority?: number) =>
      queue.push({ ...item(tenant), name, ...(ownPriority === undefined ? {} : { ownPriority }) }, () => 1)
    push('a', greedy)
    push('b', greedy, 5)
    push('c', greedy, -1)
    push('d', greedy, 0)
    push('e', greedy, -1)
    push('other', modest, 100)
    const names: string[] = []
    for (let taken = queue.shift(); taken !== undefined; taken = queue.shift()) {
      names.push(taken.name)
      queue.charge(taken.tenant, taken.rows)
    }
    expect(names.filter((name) => name !== 'other')).toEqual(['c', 'e', 'a', 'd', 'b'])
    expect(names.indexOf('other')).toBeLessThan(2)
  })

  it('admits a modest tenant next, however many requests a greedy one has waiting', () => {
    const queue = new Queue<Waiting>(roomy)
    for (let n = 0; n < 100; n++) queue.push(item(greedy), () => 1)
    admit(queue, 20)
    queue.push(item(modest), () => 1)
    expect(admit(queue, 2)).toContain(modest)
  })

  it('shares by rows, not by requests', () => {
    const queue = new Queue<Waiting>(roomy)
    for (let n = 0; n < 100; n++) {
      queue.push(item(greedy, 300), () => 1)
      queue.push(item(modest, 100), () => 1)
    }
    const admitted = admit(queue, 80)
    expect(admitted.filter((tenant) => tenant === modest)).toHaveLength(60)
  })

  it('gives no credit for time away', () => {
    const queue = new Queue<Waiting>(roomy)
    for (let n = 0; n < 100; n++) queue.push(item(greedy), () => 1)
    admit(queue, 50)
    for (let n = 0; n < 50; n++) queue.push(item(modest), () => 1)
    expect(admit(queue, 20).filter((tenant) => tenant === modest).length).toBeLessThanOrEqual(11)
  })

  it("holds a tenant's unfinished service against it when it comes back", () => {
    const queue = new Queue<Waiting>(roomy)
    queue.push(item(greedy), () => 1)
    admit(queue, 1)
    queue.charge(greedy, 1000)
    queue.push(item(greedy), () => 1)
    queue.push(item(modest), () => 1)
    expect(admit(queue, 2)).toEqual([modest, greedy])
  })

  it('refuses what exceeds its bounds, with the time to wait', () => {
    const queue = new Queue<Waiting>({ total: 3, perTenant: 2 })
    queue.push(item(greedy), () => 1)
    queue.push(item(greedy), () => 1)
    expect(() => queue.push(item(greedy), () => 7)).toThrow(
      expect.objectContaining({ code: 'queue_full', retryAfterSeconds: 7 }),
    )
    queue.push(item(modest), () => 1)
    expect(() => queue.push(item(modest), () => 7)).toThrow(
      expect.objectContaining({ code: 'queue_full', retryAfterSeconds: 7 }),
    )
    expect(queue.length).toBe(3)
  })

  it('names no time to a tenant whose share is full while others wait, as nobody knows whose turn is next', () => {
    const queue = new Queue<Waiting>({ total: 3, perTenant: 1 })
    queue.push(item(greedy), () => 1)
    queue.push(item(modest), () => 1)
    expect(() => queue.push(item(greedy), () => 7)).toThrow(
      expect.objectContaining({ code: 'queue_full', retryAfterSeconds: undefined }),
    )
  })

  it('names no time to a request of low priority whose share is full, unless one of those is next', () => {
    const queue = new Queue<Waiting & { isLowPriority: boolean }>({ total: 4, perTenant: 4 })
    const low = { ...item(modest), isLowPriority: true }
    const usual = { ...item(greedy), isLowPriority: false }
    const refused = (retryAfterSeconds: number | undefined) =>
      expect.objectContaining({ code: 'queue_full', retryAfterSeconds })
    queue.push(low, () => 1)
    queue.push(low, () => 1)
    expect(() => queue.push(low, () => 7)).toThrow(refused(7))
    queue.push(usual, () => 1)
    expect(() => queue.push(low, () => 7)).toThrow(refused(undefined))
    queue.push(usual, () => 1)
    expect(() => queue.push(low, () => 7)).toThrow(refused(undefined))
    expect(() => queue.push(usual, () => 7)).toThrow(refused(7))
    queue.shift()
    queue.push(usual, () => 1)
  })

  it('loses and doubles nothing, and keeps each tenant in order', () => {
    const action = fc.oneof(
      fc.record({
        do: fc.constant('push' as const),
        tenant: fc.constantFrom('a', 'b', 'c'),
        tokens: fc.nat(50),
      }),
      fc.record({ do: fc.constant('shift' as const) }),
      fc.record({ do: fc.constant('remove' as const), at: fc.nat(20) }),
    )
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        const queue = new Queue<Waiting>({ total: 20, perTenant: 10 })
        let waiting: Waiting[] = []
        for (const step of actions) {
          if (step.do === 'push') {
            const next = item(TenantId.parse(step.tenant), step.tokens)
            const full = waiting.length >= 20 || waiting.filter((w) => w.tenant === next.tenant).length >= 10
            if (full) expect(() => queue.push(next, () => 1)).toThrow()
            else queue.push(next, () => 1)
            if (!full) waiting.push(next)
          } else if (step.do === 'shift') {
            const peeked = queue.peek()
            const taken = queue.shift()
            expect(taken).toBe(peeked)
            expect(taken).toBe(waiting.find((w) => w.tenant === taken?.tenant))
            waiting = waiting.filter((w) => w !== taken)
          } else {
            const gone = waiting[step.at]
            if (gone !== undefined) queue.remove(gone)
            waiting = waiting.filter((w) => w !== gone)
          }
          expect(queue.length).toBe(waiting.length)
          expect(new Set(queue)).toEqual(new Set(waiting))
        }
      }),
    )
  })
})

describe('requests of low priority', () => {
  const low = (tenant: TenantId) => ({ ...item(tenant), isLowPriority: true })

  it('go when no other waits, however long they have waited and whoever asks', () => {
    const queue = new Queue<Waiting & { readonly isLowPriority?: boolean }>(roomy)
    for (let n = 0; n < 5; n++) queue.push(low(modest), () => 1)
    for (let n = 0; n < 5; n++) queue.push(item(greedy), () => 1)
    expect(admit(queue, 6)).toEqual([greedy, greedy, greedy, greedy, greedy, modest])
    queue.push(item(greedy), () => 1)
    expect(admit(queue, 1)).toEqual([greedy])
    expect(queue.length).toBe(4)
  })

  it('take half of the places to wait at most, and the others are for whoever waits', () => {
    const queue = new Queue<Waiting & { readonly isLowPriority?: boolean }>({ total: 4, perTenant: 4 })
    const [first, second] = [low(modest), low(greedy)]
    queue.push(first, () => 1)
    queue.push(second, () => 1)
    expect(() => queue.push(low(modest), () => 1)).toThrow(/2 requests of low priority/)
    queue.push(item(modest), () => 1)
    queue.remove(first)
    queue.push(low(modest), () => 1)
    expect([...queue]).toHaveLength(3)
  })
})
