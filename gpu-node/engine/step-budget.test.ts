import { expect, it } from 'vitest'
import type { CacheLayout } from '../../model/runtime/cache-layout.ts'
import { newRequestId, TenantId } from '../../shared/ids.ts'
import { type GenerateEvent, greedySampling } from '../../shared/wire.ts'
import { fakeAdapter } from '../../test/fakes/fake-adapter.ts'
import { type BackendCall, FakeBackend, fakeBackbone } from '../../test/fakes/fake-backend.ts'
import { Engine } from './engine.ts'
import { fewestRows, StepBudget } from './step-budget.ts'

const stepMs = 100

interface Machine {
  /** Milliseconds of one row of a prompt behind no other. */
  readonly row: number
  /** Rows in front at which a row costs twice as much. */
  readonly twiceAt: number
  /** Milliseconds of a decode step. */
  readonly decode: number
  /** The cache's layout: in pages a step is one call. `host` when absent. */
  readonly layout?: CacheLayout
}

const chunksOf = (call: BackendCall) =>
  call.type === 'together' ? call.chunks : call.type === 'prefill' ? [call] : []

/** An engine in virtual time, on a machine of that speed. */
function engineOn({ decode, layout, row, twiceAt }: Machine) {
  const backend = new FakeBackend({
    ...(layout && { layout }),
    chunkTokens: 512,
    contextLength: 16_384,
    cacheRows: 100_000,
    maxBatch: 16,
  })
  let clock = 0
  const prefilled = { depth: 0 }
  backend.beforeCall = (call: BackendCall) => {
    clock += 2
    if (call.type === 'decode' || (call.type === 'together' && call.batch > 0)) clock += decode
    for (const { tokens, tuned } of chunksOf(call)) {
      if (tuned) prefilled.depth = 0
      clock += tokens * row * (1 + prefilled.depth / twiceAt)
      if (tokens > 8) prefilled.depth += tokens
    }
  }
  const engine = new Engine({ backend, queue: { total: 100, perTenant: 100 }, stepMs, now: () => clock })
  const generate = (prompt: number, maxTokens: number, adapter?: { rows: number; window: number }) =>
    engine.submit({
      tenant: TenantId.parse('acme'),
      request: {
        requestId: newRequestId(),
        backbone: fakeBackbone,
        adapter: null,
        prompt: Array.from({ length: prompt }, (_, at) => at % 64),
        maxTokens,
        sampling: greedySampling,
        stopTokens: [],
        logprobs: null,
        timeoutMs: 3_600_000,
      },
      adapter: adapter ? { loaded: fakeAdapter({ identity: 1, ...adapter }), release: () => {} } : null,
      signal: new AbortController().signal,
    })
  /** When each token came, in virtual milliseconds. */
  const times = async (stream: AsyncIterable<readonly GenerateEvent[]>): Promise<number[]> => {
    const at: number[] = []
    for await (const events of stream) for (const { type } of events) if (type === 'token') at.push(clock)
    return at
  }
  return { backend, generate, times }
}

/** A step takes `stepMs`; where even the fewest rows behind the longest prompt take longer, it takes those. */
const boundedStep = ({ decode, row, twiceAt }: Machine) =>
  Math.max(stepMs, 2 + fewestRows * row * (1 + 7000 / twiceAt) + 2 + decode)

const machines: Record<string, Machine> = {
  slow: { row: 3, twiceAt: 4000, decode: 25 },
  'very slow': { row: 6, twiceAt: 2000, decode: 60 },
  quick: { row: 0.02, twiceAt: 16_000, decode: 4 },
  'paged slow': { row: 3, twiceAt: 4000, decode: 25, layout: 'pages' },
}

it.each(Object.entries(machines))(
  'a prompt of 7,000 tokens delays four streams by at most two bounded steps, on a %s machine',
  async (_name, machine) => {
    const { backend, generate, times } = engineOn(machine)
    const streams = [1, 2, 3, 4].map(() => times(generate(5, 700)))
    const long = times(generate(7000, 1))
    const tokens = await Promise.all(streams)
    expect(await long).toHaveLength(1)
    for (const at of tokens) {
      expect(at).toHaveLength(700)
      const gaps = at.slice(1).map((time, i) => time - (at[i] ?? 0))
      expect(Math.max(...gaps)).toBeLessThanOrEqual(2 * boundedStep(machine))
    }
    // The long prompt was read while they ran, and in as few pieces as their pace allows.
    const decodes = backend.calls.filter(({ type }) => type === 'decode').length
    expect(decodes).toBeLessThanOrEqual(700)
  },
)

it('a step takes what its time has room for, once the machine was measured, and four times as much when no stream waits', async () => {
  const { backend, generate, times } = engineOn({ row: 1, twiceAt: Number.POSITIVE_INFINITY, decode: 5 })
  const chunks = () => backend.calls.flatMap((call) => (call.type === 'prefill' ? [call.tokens] : []))
  await times(generate(5000, 1))
  const alone = chunks().slice(6, -1)
  for (const tokens of alone) {
    expect(tokens).toBeGreaterThanOrEqual(360)
    expect(tokens).toBeLessThanOrEqual(400)
  }
  const before = backend.calls.length
  const stream = times(generate(5, 100))
  await times(generate(2000, 1))
  await stream
  // 2 ms for each of two runs, 5 ms for the decode and 1 ms for each row.
  for (const call of backend.calls.slice(before + 2, before + 20))
    if (call.type === 'prefill') expect(call.tokens).toBeLessThanOrEqual(100)
})

it("an adapter's rows take their part of a step's time", async () => {
  const { backend, generate, times } = engineOn({ row: 1, twiceAt: Number.POSITIVE_INFINITY, decode: 5 })
  await times(generate(5000, 1))
  const before = backend.calls.length
  await times(generate(1000, 1, { rows: 200, window: 4 }))
  const [first, second] = backend.calls.slice(before)
  expect(first).toMatchObject({ tuned: true })
  expect(first?.type === 'prefill' ? first.tokens : 0).toBeLessThanOrEqual(200)
  expect(second?.type === 'prefill' ? second.tokens : 0).toBeGreaterThan(350)
})

it('no prompt is cut so that its last token runs alone, which would take other kernels', async () => {
  const { backend, generate, times } = engineOn({ row: 0.9, twiceAt: 3000, decode: 5 })
  for (let length = 150; length < 250; length++) await times(generate(length, 1))
  for (const call of backend.calls) if (call.type === 'prefill') expect(call.tokens).toBeGreaterThan(1)
})

it('a forced text beside decoded tokens or a prompt makes neither look slower', () => {
  const budget = new StepBudget({ stepMs, mostRows: 512 })
  budget.ran({ ms: 20, chunks: [], forced: 0, decoded: 4 })
  const left = budget.prefillMs(4)
  budget.ran({ ms: 90, chunks: [], forced: 32, decoded: 4 })
  expect(budget.prefillMs(4)).toBe(left)
  const alone = budget.ran({ ms: 64, chunks: [{ rows: 64, depth: 0 }], forced: 0, decoded: 0 })
  const beside = budget.ran({ ms: 96, chunks: [{ rows: 64, depth: 0 }], forced: 32, decoded: 0 })
  expect([alone, beside]).toEqual([64, 64])
})
