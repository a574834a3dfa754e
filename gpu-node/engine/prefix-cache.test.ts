import { expect, it } from 'vitest'
import { AdapterDigest, newRequestId, TenantId } from '../../shared/ids.ts'
import { type GenerateEvent, greedySampling } from '../../shared/wire.ts'
import { continuation, FakeBackend, fakeAdapter, fakeBackbone } from '../../test/fakes/fake-backend.ts'
import { Engine } from './engine.ts'

interface Ask {
  readonly prompt: readonly number[]
  readonly tenant?: string
  readonly adapter?: {
    readonly identity: number
    readonly window?: number
    readonly tail?: number
    readonly placement?: 'turn'
  }
  /** Tokens in front of the newest turn. */
  readonly turn?: number
  readonly signal?: AbortSignal
}

function engineWith(prefixBytes = 100_000) {
  const backend = new FakeBackend({ chunkTokens: 512, cacheRows: 100_000, contextLength: 8192 })
  const engine = new Engine({
    backend,
    queue: { total: 100, perTenant: 100 },
    prefixBytes,
    now: () => 0,
  })
  const prefilled = () =>
    backend.calls.reduce((sum, call) => sum + (call.type === 'prefill' ? call.tokens : 0), 0)
  const begin = ({ adapter, prompt, signal, tenant = 'acme', turn }: Ask) =>
    engine.submit({
      tenant: TenantId.parse(tenant),
      request: {
        requestId: newRequestId(),
        backbone: fakeBackbone,
        adapter: adapter ? AdapterDigest.parse(adapter.identity.toString(16).padStart(64, '0')) : null,
        prompt: [...prompt],
        ...(turn !== undefined && { turn }),
        maxTokens: 8,
        sampling: greedySampling,
        stopTokens: [],
        logprobs: null,
        timeoutMs: 60_000,
      },
      adapter: adapter ? { loaded: fakeAdapter(adapter), release: () => {} } : null,
      signal: signal ?? new AbortController().signal,
    })
  const read = async (ask: Ask) => {
    const { adapter, prompt } = ask
    const stream = begin(ask)
    const events: GenerateEvent[] = []
    for await (const piece of stream) events.push(...piece)
    const last = events.at(-1)
    if (last?.type !== 'done') throw new Error('the request did not end well')
    const tokens = events.flatMap((event) => (event.type === 'token' ? [event.id] : []))
    expect(tokens).toEqual(continuation(prompt, { count: 8, identity: adapter?.identity ?? 0 }))
    expect(last.usage).toMatchObject({ promptTokens: prompt.length, completionTokens: 8 })
    const [first] = events
    expect(first).toMatchObject({ type: 'token' })
    if (first?.type === 'token') expect(first.cachedTokens).toBe(last.usage.cachedTokens)
    return { cached: last.usage.cachedTokens ?? 0, tokens }
  }
  const generate = async (ask: Ask) => {
    const before = prefilled()
    const answer = await read(ask)
    expect(prefilled() - before + answer.cached).toBe(ask.prompt.length)
    return answer
  }
  return { backend, begin, engine, generate, prefilled, read }
}

const text = (length: number, seed = 0) => Array.from({ length }, (_, at) => (at * 7 + seed) % 64)

it('a conversation of ten turns runs only what is new, and answers as without', async () => {
  const { generate } = engineWith()
  const system = text(1500)
  let prompt = [...system]
  for (let turn = 0; turn < 10; turn++) {
    prompt = [...prompt, ...text(20, turn)]
    const { cached, tokens } = await generate({ prompt })
    if (turn > 0) expect(prompt.length - cached).toBeLessThan(64 + 8 + 20 + 2)
    else expect(cached).toBe(0)
    prompt = [...prompt, ...tokens]
  }
})

it('nobody’s prompts make another tenant’s quicker, nor another adapter’s', async () => {
  const { generate } = engineWith()
  const prompt = text(300)
  expect((await generate({ prompt })).cached).toBe(0)
  expect((await generate({ prompt, tenant: 'other' })).cached).toBe(0)
  expect((await generate({ prompt, adapter: { identity: 1 } })).cached).toBe(0)
  expect((await generate({ prompt, adapter: { identity: 2 } })).cached).toBe(0)
  expect((await generate({ prompt })).cached).toBe(256)
  expect((await generate({ prompt, tenant: 'other' })).cached).toBe(256)
  expect((await generate({ prompt, adapter: { identity: 1 } })).cached).toBe(256)
})

it('rows that depend on the tokens of a window are found again only behind the same window', async () => {
  const { generate } = engineWith()
  const long = text(200)
  const adapter = { identity: 3, window: 100 }
  await generate({ prompt: long, adapter })
  // The first 80 tokens are the same, and the rows in front of them are not.
  expect((await generate({ prompt: long.slice(0, 80), adapter })).cached).toBe(0)
  expect((await generate({ prompt: [...long.slice(0, 90), ...text(60, 5)], adapter })).cached).toBe(0)
  expect((await generate({ prompt: [...long.slice(0, 150), ...text(60, 5)], adapter })).cached).toBe(128)
})

it('a prompt that the backbone or a late adapter has read serves every late adapter of the tenant, up to its window', async () => {
  const { generate } = engineWith()
  const late = (identity: number, window = 40) => ({ identity, window, tail: 4 })
  const prompt = text(1500)
  expect((await generate({ prompt })).cached).toBe(0)
  // The largest whole number of blocks in front of window and tail: 1500 − 44 = 22 · 64 + 48.
  expect((await generate({ prompt, adapter: late(1) })).cached).toBe(22 * 64)
  expect((await generate({ prompt, adapter: late(2, 300) })).cached).toBe(18 * 64)
  expect((await generate({ prompt, adapter: late(3, 0) })).cached).toBe(23 * 64)
  expect((await generate({ prompt, adapter: late(1), tenant: 'other' })).cached).toBe(0)
  expect((await generate({ prompt, adapter: late(2), tenant: 'other' })).cached).toBe(22 * 64)
  expect((await generate({ prompt, tenant: 'other' })).cached).toBe(23 * 64)
  expect((await generate({ prompt, adapter: { identity: 4 } })).cached).toBe(0)
})

it('only the part of a prompt in front of its late rows is kept', async () => {
  const { generate } = engineWith()
  const adapter = { identity: 1, window: 10, tail: 4 }
  for (const [length, cached] of [
    [131, 64],
    [132, 128],
  ] as const) {
    await generate({ prompt: text(length, length), adapter })
    expect((await generate({ prompt: text(length, length) })).cached).toBe(cached)
  }
})

it('what stands in front of a newest turn serves every adapter of the tenant that leaves it to the backbone', async () => {
  const { generate } = engineWith()
  const late = (identity: number) => ({ identity, window: 40, tail: 4 })
  const ofTurn = (identity: number) => ({ identity, window: 40, placement: 'turn' as const })
  // 15 whole blocks in front of the newest turn: 1000 = 15 · 64 + 40.
  const [prompt, turn] = [text(1200), 1000]
  expect((await generate({ prompt })).cached).toBe(0)
  expect((await generate({ prompt, turn, adapter: ofTurn(1) })).cached).toBe(15 * 64)
  expect((await generate({ prompt, turn, adapter: ofTurn(2) })).cached).toBe(15 * 64)
  // The same adapter again: all but the end, its rows among what is kept.
  expect((await generate({ prompt, turn, adapter: ofTurn(1) })).cached).toBe(18 * 64)
  // The next turn finds what the backbone read of this one, not what the adapter did.
  const longer = [...prompt, ...text(100, 3)]
  expect((await generate({ prompt: longer, turn: 1150, adapter: ofTurn(1) })).cached).toBe(17 * 64)
  expect((await generate({ prompt, adapter: late(3) })).cached).toBe(18 * 64)
  expect((await generate({ prompt, turn, adapter: ofTurn(1), tenant: 'other' })).cached).toBe(0)
  expect((await generate({ prompt, turn, adapter: ofTurn(2), tenant: 'other' })).cached).toBe(15 * 64)
  expect((await generate({ prompt, adapter: late(3), tenant: 'other' })).cached).toBe(15 * 64)
  expect((await generate({ prompt, tenant: 'other' })).cached).toBe(18 * 64)
})

it('what is kept behind a newest turn’s rows serves the same adapter with the same window at the same place alone', async () => {
  const { generate } = engineWith()
  const adapter = { identity: 1, window: 100, placement: 'turn' as const }
  const prompt = text(400)
  expect((await generate({ prompt, turn: 70, adapter })).cached).toBe(0)
  expect((await generate({ prompt, turn: 70, adapter })).cached).toBe(384)
  // Another place of the rows, none, a window with other tokens, another adapter.
  expect((await generate({ prompt, turn: 128, adapter })).cached).toBe(64)
  expect((await generate({ prompt, adapter })).cached).toBe(0)
  expect(
    (await generate({ prompt: [...prompt.slice(0, 160), ...text(90, 5)], turn: 70, adapter })).cached,
  ).toBe(64)
  expect(
    (await generate({ prompt: [...prompt.slice(0, 200), ...text(90, 5)], turn: 70, adapter })).cached,
  ).toBe(192)
  expect((await generate({ prompt, turn: 70, adapter: { ...adapter, identity: 2 } })).cached).toBe(64)
})

it('kept rows leave at least two tokens to run in front of a newest turn, or none', async () => {
  const { generate } = engineWith()
  const adapter = { identity: 1, window: 10, placement: 'turn' as const }
  await generate({ prompt: text(400) })
  for (const [turn, cached] of [
    [128, 128],
    [129, 64],
    [130, 128],
    [65, 0],
  ] as const)
    expect((await generate({ prompt: text(400), turn, adapter })).cached, String(turn)).toBe(cached)
})

it('four late adapters that ask about one conversation at once take one prefill of it', async () => {
  const { prefilled, read } = engineWith()
  const prompt = text(1500)
  const answers = await Promise.all(
    [1, 2, 3, 4].map((identity) => read({ prompt, adapter: { identity, window: 40, tail: 4 } })),
  )
  // All but the first run what is behind the last whole block in front of window and tail.
  expect(answers.map(({ cached }) => cached)).toEqual([0, 22 * 64, 22 * 64, 22 * 64])
  expect(prefilled()).toBe(1500 + 3 * (1500 - 22 * 64))
})

it('adapters with rows at a newest turn that ask at once take one prefill of what is in front of it', async () => {
  const { prefilled, read } = engineWith()
  const [prompt, turn] = [text(1500), 1400]
  const answers = await Promise.all(
    [1, 2, 3].map((identity) => read({ prompt, turn, adapter: { identity, window: 40, placement: 'turn' } })),
  )
  expect(answers.map(({ cached }) => cached)).toEqual([0, 21 * 64, 21 * 64])
  expect(prefilled()).toBe(1500 + 2 * (1500 - 21 * 64))
})

it('several choices of one prompt take one prefill too, and another tenant’s never waits for it', async () => {
  const { prefilled, read } = engineWith()
  const prompt = text(300)
  const asks = [{ prompt }, { prompt }, { prompt, tenant: 'other' }, { prompt, adapter: { identity: 1 } }]
  const answers = await Promise.all(asks.map(read))
  expect(answers.map(({ cached }) => cached)).toEqual([0, 256, 0, 0])
  expect(prefilled()).toBe(4 * 300 - 256)
})

it('a short prompt does not wait for a long one that begins alike', async () => {
  const { read } = engineWith()
  let isLongOver = false
  const long = read({ prompt: text(4000) }).then(() => {
    isLongOver = true
  })
  const { cached } = await read({ prompt: [...text(128), ...text(70, 5)] })
  expect({ cached, isLongOver }).toEqual({ cached: 0, isLongOver: false })
  await long
})

it('when the one that reads for the others leaves, the next reads for the rest', async () => {
  const { backend, begin, prefilled, read } = engineWith()
  const prompt = text(1500)
  const leaving = new AbortController()
  backend.beforeCall = () => {
    if (prefilled() >= 200) leaving.abort()
  }
  const left = (async () => {
    for await (const piece of begin({ prompt, signal: leaving.signal })) if (piece.length > 0) return piece
    return []
  })()
  const [second, third] = await Promise.all([read({ prompt }), read({ prompt })])
  expect(await left).toMatchObject([{ type: 'error', code: 'client_closed_request' }])
  expect([second.cached, third.cached]).toEqual([0, 23 * 64])
  expect(backend.usedRows).toBe(0)
})

it('at least two tokens of a prompt are run', async () => {
  const { generate } = engineWith()
  for (const length of [128, 129, 130]) await generate({ prompt: text(length) })
  expect((await generate({ prompt: text(128) })).cached).toBe(64)
  expect((await generate({ prompt: text(129) })).cached).toBe(64)
  expect((await generate({ prompt: text(130) })).cached).toBe(128)
})

it('the least recently used go first, and never more is kept than allowed and a block', async () => {
  const { backend, engine, generate } = engineWith(320)
  await generate({ prompt: text(130, 1) })
  await generate({ prompt: text(130, 2) })
  await generate({ prompt: text(130, 1) })
  await generate({ prompt: text(130, 3) })
  expect(engine.prefixBytes).toBeLessThanOrEqual(320)
  expect((await generate({ prompt: text(130, 1) })).cached).toBe(128)
  expect((await generate({ prompt: text(130, 2) })).cached).toBeLessThan(128)
  await generate({ prompt: text(3000, 4) })
  expect(engine.prefixBytes).toBeLessThanOrEqual(320)
  // A device allocates that memory once: what is forgotten is released, before more is kept.
  expect(backend.keptBytes).toBe(engine.prefixBytes)
  expect(backend.mostKeptBytes).toBeLessThanOrEqual(320 + 64)
})

it('none is kept where no memory is set aside for it, and none holds room of running requests', async () => {
  const { backend, generate } = engineWith(0)
  for (let i = 0; i < 2; i++) expect((await generate({ prompt: text(300) })).cached).toBe(0)
  expect(backend.usedRows).toBe(0)
})

it('a prompt whose rows cannot be kept is answered, and so are those beside it', async () => {
  const { backend, engine, generate, read } = engineWith()
  backend.keepRows = () => Promise.reject(new Error('no memory'))
  await Promise.all([1, 2, 3].map((seed) => read({ prompt: text(130, seed) })))
  expect((await generate({ prompt: text(130, 1) })).cached).toBe(0)
  expect([backend.usedRows, engine.prefixBytes]).toEqual([0, 0])
})

it('a prompt whose kept rows cannot be put back ends alone, and whoever waits behind it is answered', async () => {
  const { backend, begin, engine, generate, read } = engineWith()
  await generate({ prompt: text(130) })
  const { putRows } = backend
  backend.putRows = () => Promise.reject(new Error('broken'))
  const events: GenerateEvent[] = []
  const failing = (async () => {
    for await (const piece of begin({ prompt: text(130) })) events.push(...piece)
  })()
  const others = [1, 2, 3, 4, 5, 6].map((seed) => read({ prompt: text(130, seed) }))
  await Promise.all([failing, ...others])
  expect(events).toMatchObject([{ type: 'error', code: 'node_error' }])
  backend.putRows = putRows.bind(backend)
  expect((await generate({ prompt: text(130) })).cached).toBe(128)
  expect([backend.usedRows, engine.running]).toEqual([0, 0])
})
