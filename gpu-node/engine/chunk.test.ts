import fc from 'fast-check'
import { expect, it } from 'vitest'
import { hasLoneQuery } from '../../model/runtime/lone-query.ts'
import { AdapterDigest, newRequestId, TenantId } from '../../shared/ids.ts'
import { greedySampling } from '../../shared/wire.ts'
import { fakeAdapter } from '../../test/fakes/fake-adapter.ts'
import { FakeBackend, fakeBackbone } from '../../test/fakes/fake-backend.ts'
import { Engine } from './engine.ts'

interface Asked {
  readonly length: number
  /** 0 for the untuned backbone. */
  readonly window: number
  readonly tail: number | undefined
  /** Tokens in front of the newest turn, of an adapter with rows there. */
  readonly turn?: number
}

const adapterRows = 4

/** The runs of a prompt that begins with tokens that are kept already, if `isKept`. */
async function runsOf(asked: readonly Asked[], { chunkTokens }: { chunkTokens: number }) {
  const backend = new FakeBackend({ chunkTokens, cacheRows: 100_000, contextLength: 8192 })
  const engine = new Engine({
    backend,
    queue: { total: 100, perTenant: 100 },
    prefixBytes: 100_000,
    now: () => 0,
  })
  const read = async ({ length, tail, turn, window }: Asked) => {
    const placement = turn === undefined ? {} : { placement: 'turn' as const }
    const events = engine.submit({
      tenant: TenantId.parse('acme'),
      request: {
        requestId: newRequestId(),
        backbone: fakeBackbone,
        adapter: window > 0 ? AdapterDigest.parse('1'.repeat(64)) : null,
        prompt: Array.from({ length }, (_, at) => at % 60),
        ...(turn !== undefined && turn > 0 && { turn }),
        maxTokens: 1,
        sampling: greedySampling,
        stopTokens: [],
        logprobs: null,
        timeoutMs: 60_000,
      },
      adapter:
        window > 0
          ? {
              loaded: fakeAdapter({ identity: 1, window, ...placement, ...(tail !== undefined && { tail }) }),
              release: () => {},
            }
          : null,
      signal: new AbortController().signal,
    })
    for await (const _ of events);
  }
  await Promise.all(asked.map(read))
  // Once more, behind kept rows.
  for (const one of asked) await read(one)
  return backend.calls.flatMap((call) => (call.type === 'prefill' ? [call] : []))
}

const length = fc.integer({ min: 2, max: 400 })

it('no run of a prompt leaves a query alone, whatever its length, the room of a step and what is kept', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(length, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 16, max: 256 }),
      async (lengths, chunkTokens) => {
        const asked = lengths.map((length) => ({ length, window: 0, tail: undefined }))
        for (const { tokens } of await runsOf(asked, { chunkTokens }))
          expect(hasLoneQuery(tokens)).toBe(false)
      },
    ),
    { numRuns: 60 },
  )
})

it('nor does one of a tuned prompt, unless the rows depend on every token of it', async () => {
  await fc.assert(
    fc.asyncProperty(
      length,
      fc.integer({ min: 1, max: 80 }),
      fc.boolean(),
      async (length, window, isLate) => {
        const tail = isLate ? 4 : undefined
        if (length < 8) return
        for (const { tokens, tuned } of await runsOf([{ length, window, tail }], { chunkTokens: 48 })) {
          if (isLate ? length <= window + 8 : length <= window + 1) continue
          expect(hasLoneQuery(tokens) || (tuned && hasLoneQuery(tokens + adapterRows))).toBe(false)
        }
      },
    ),
    { numRuns: 60 },
  )
})

it('a newest turn begins with a chunk that has its window and its rows, and what is in front leaves no query alone', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({ front: fc.integer({ min: 2, max: 200 }), own: fc.integer({ min: 3, max: 200 }) }),
      fc.integer({ min: 1, max: 80 }),
      async ({ front: turn, own }, window) => {
        const asked = [{ length: turn + own, window, tail: undefined, turn }]
        const calls = await runsOf(asked, { chunkTokens: 48 })
        const tuned = calls.filter((call) => call.tuned)
        expect(tuned.length).toBeGreaterThan(0)
        for (const { tokens } of tuned) expect(tokens).toBeGreaterThanOrEqual(Math.min(window, own))
        // The first time all of the prompt runs: what is in front, the turn's first chunk, and the rest.
        const cold = calls.slice(
          0,
          calls.findIndex(({ tuned }) => tuned),
        )
        expect(cold.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(turn)
        for (const { tokens, tuned } of calls)
          if (!tuned) expect(hasLoneQuery(tokens)).toBe(false)
          else if (own > window + 1)
            expect(hasLoneQuery(tokens) || hasLoneQuery(tokens + adapterRows)).toBe(false)
      },
    ),
    // Fronts that end with a query alone where a step has as many tokens as it may.
    { numRuns: 60, examples: [65, 113, 161].map((front) => [{ front, own: 50 }, 10]) },
  )
})
