import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Limits } from '../../edge/budgets/limits.ts'
import { BudgetWorld, type Fate } from './budget-world.ts'

type Step =
  | { readonly do: 'request'; readonly isolate: number; readonly n: number; readonly maxTokens: number }
  | { readonly do: 'finish'; readonly at: number; readonly share: number; readonly told: boolean }
  | { readonly do: 'fail'; readonly at: number; readonly share: number }
  | { readonly do: 'flush' | 'release' | 'crash'; readonly isolate: number }
  | { readonly do: 'advance'; readonly ms: number }
  | { readonly do: 'network'; readonly fate: Fate }
  | { readonly do: 'restart' | 'heartbeat' | 'deliver' }

const isolates = 3
/** One of them is busy: its next requests want the tokens that earlier ones leave over. */
const isolate = fc.constantFrom(0, 0, 0, 1, isolates - 1)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('request' as const),
      isolate,
      n: fc.constantFrom(1, 1, 2, 3),
      maxTokens: fc.integer({ min: 2, max: 30 }),
    }),
  },
  { weight: 25, arbitrary: fc.record({ do: fc.constant('deliver' as const) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('finish' as const),
      at: fc.nat(20),
      // Most use little, so that for a long time much is reserved of a budget and little is spent.
      share: fc.constantFrom(0, 0, 0.1, 0.3, 1),
      told: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('fail' as const),
      at: fc.nat(20),
      share: fc.constantFrom(0, 0.5, 1),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('flush' as const, 'release' as const), isolate }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('crash' as const), isolate }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('advance' as const),
      ms: fc.constantFrom(1, 900, 900, 900, 900, 900, 2_500, 2_500, 2_500, 5_000, 12_000, 31_000, 200_000),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('network' as const),
      fate: fc.constantFrom<Fate>('arrives', 'arrives', 'lost', 'answer lost', 'answer lost'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('restart' as const, 'heartbeat' as const) }) },
)

const orNone = (min: number, max: number) =>
  fc.option(fc.noBias(fc.integer({ min, max })), { nil: null, freq: 1 })
const limits: fc.Arbitrary<Limits> = fc.record({
  tokensPerDay: fc.noBias(fc.integer({ min: 20, max: 200 })),
  tokensPerMonth: orNone(20, 300),
  concurrentRequests: orNone(2, 12),
  requestsPerMinute: orNone(5, 30),
  tokensPerMinute: orNone(50, 1_000),
})
/** A minute before a UTC midnight that begins a month, or in the midst of a day. */
const start = fc.constantFrom(Date.UTC(2026, 10, 30, 23, 59, 10), Date.UTC(2026, 10, 24, 12, 0, 0))
const clocks = fc.array(fc.constantFrom(0, 180_000, -300_000, 7_000), {
  minLength: isolates,
  maxLength: isolates,
})

async function play(
  world: BudgetWorld,
  scheduler: fc.Scheduler,
  { offsets, steps }: { steps: Step[]; offsets: number[] },
) {
  const of = (at: number) => world.isolate(at, offsets[at] ?? 0)
  const background: Promise<void>[] = []
  for (const next of steps) {
    switch (next.do) {
      case 'request':
        background.push(world.request(of(next.isolate), next))
        break
      case 'finish':
        world.finish(next.at, next)
        break
      case 'fail':
        world.fail(next.at, next.share)
        break
      case 'flush':
        background.push(world.flush(of(next.isolate)))
        break
      case 'release':
        of(next.isolate).account.release()
        background.push(world.flush(of(next.isolate)))
        break
      case 'crash':
        of(next.isolate).alive = false
        break
      case 'advance':
        world.advance(next.ms)
        break
      case 'network':
        world.fate = next.fate
        break
      case 'restart':
        world.restart()
        break
      case 'heartbeat':
        world.heartbeat(0)
        break
      case 'deliver':
        if (scheduler.count() > 0) await scheduler.waitOne()
    }
    // No time passes while code that could run has not run.
    await new Promise((resolve) => setImmediate(resolve))
    check(world)
  }
  await world.quiesce()
  check(world)
}

/** Fails when a promise is broken that must hold at any moment, whatever happened before. */
function check(world: BudgetWorld) {
  const { day, ledger, limits, running } = world
  const { concurrentRequests, requestsPerMinute, tokensPerDay, tokensPerMinute, tokensPerMonth } = limits
  const broken: string[] = []
  const hold = (what: string, count: number, limit: number | null) => {
    if (limit !== null && count > limit) broken.push(`${what}: ${count} of ${limit}`)
  }
  const days = new Set([day, ...world.works.map((work) => work.day)])
  const ofMonths = new Map<string, number>()
  for (const each of days) {
    const committed = world.committed(each)
    hold(`spent and reserved on ${each}`, committed, tokensPerDay)
    hold(`spent on ${each}`, ledger.spent(each), tokensPerDay)
    const month = each.slice(0, 7)
    ofMonths.set(month, (ofMonths.get(month) ?? 0) + committed)
  }
  for (const [month, committed] of ofMonths) {
    hold(`spent and reserved in ${month}`, committed, tokensPerMonth)
    hold(`spent in ${month}`, ledger.spent(month), tokensPerMonth)
  }
  hold('requests at the same time', running, concurrentRequests)
  for (const [minute, { requests, tokens }] of world.admissions) {
    hold(`requests of minute ${minute}`, requests, requestsPerMinute)
    // Unused parts of a minute's tokens are given out again within it, so only what runs at once is bounded by them.
    if (requests === 1) hold(`tokens of minute ${minute}`, tokens, tokensPerMinute)
  }
  // Asked tens of thousands of times, for which `expect` is slow.
  if (broken.length > 0) throw new Error(broken.join('; '))
}

test('under crashes, lost messages, restarts, retries and clocks that differ no budget is overspent, and in the end what is spent is what the node counted', async () => {
  let admitted = 0
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      limits,
      start,
      clocks,
      fc.array(step, { minLength: 40, maxLength: 100, size: 'max' }),
      async (scheduler, bounds, now, offsets, steps) => {
        const world = new BudgetWorld({ limits: bounds, now, scheduler })
        await play(world, scheduler, { steps, offsets })
        admitted += world.works.length
        const days = new Set(world.works.map((work) => work.day))
        for (const day of days) expect(world.ledger.spent(day)).toBe(world.committed(day))
        expect(world.ledger.held).toEqual({ tokens: 0, slots: 0, holders: 0 })
        expect(world.works.every(({ acknowledged, request }) => acknowledged || request.isolate.alive)).toBe(
          true,
        )
      },
    ),
    { numRuns: 2_000 },
  )
  // Else the property would hold for want of anything to check.
  expect(admitted).toBeGreaterThan(10_000)
}, 240_000)
