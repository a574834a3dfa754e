import { expect, it } from 'vitest'
import type { GenerateEvent } from '../../shared/wire.ts'
import { engineWith, text } from '../../test/fakes/prefix-cache-engine.ts'

/** The first piece that is not empty. */
async function firstOf<T>(pieces: AsyncIterable<readonly T[]>): Promise<readonly T[]> {
  for await (const piece of pieces) if (piece.length > 0) return piece
  return []
}

it('a conversation of ten turns runs only what is new, and answers as without', async () => {
  const { generate } = engineWith()
  const system = text(1500)
  let prompt = [...system]
  for (let turn = 0; turn < 10; turn++) {
    prompt = [...prompt, ...text(20, turn)]
    const { cached, tokens } = await generate({ prompt })
    if (turn > 0) expect(prompt.length - cached).toBeLessThan(32 + 8 + 20 + 2)
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
  expect((await generate({ prompt })).cached).toBe(288)
  expect((await generate({ prompt, tenant: 'other' })).cached).toBe(288)
  expect((await generate({ prompt, adapter: { identity: 1 } })).cached).toBe(288)
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
  // The largest whole number of blocks in front of window and tail: 1500 − 44 = 45 · 32 + 16.
  expect((await generate({ prompt, adapter: late(1) })).cached).toBe(45 * 32)
  expect((await generate({ prompt, adapter: late(2, 300) })).cached).toBe(37 * 32)
  expect((await generate({ prompt, adapter: late(3, 0) })).cached).toBe(46 * 32)
  expect((await generate({ prompt, adapter: late(1), tenant: 'other' })).cached).toBe(0)
  expect((await generate({ prompt, adapter: late(2), tenant: 'other' })).cached).toBe(45 * 32)
  expect((await generate({ prompt, tenant: 'other' })).cached).toBe(46 * 32)
  expect((await generate({ prompt, adapter: { identity: 4 } })).cached).toBe(0)
})

it('only the part of a prompt in front of its late rows is kept', async () => {
  const { generate } = engineWith()
  const adapter = { identity: 1, window: 10, tail: 4 }
  for (const [length, cached] of [
    [131, 96],
    [132, 128],
  ] as const) {
    await generate({ prompt: text(length, length), adapter })
    expect((await generate({ prompt: text(length, length) })).cached).toBe(cached)
  }
})

it('four late adapters that ask about one conversation at once take one prefill of it', async () => {
  const { prefilled, read } = engineWith()
  const prompt = text(1500)
  const answers = await Promise.all(
    [1, 2, 3, 4].map((identity) => read({ prompt, adapter: { identity, window: 40, tail: 4 } })),
  )
  // All but the first run what is behind the last whole block in front of window and tail.
  expect(answers.map(({ cached }) => cached)).toEqual([0, 45 * 32, 45 * 32, 45 * 32])
  expect(prefilled()).toBe(1500 + 3 * (1500 - 45 * 32))
})

it('several choices of one prompt take one prefill too, and another tenant’s never waits for it', async () => {
  const { prefilled, read } = engineWith()
  const prompt = text(300)
  const asks = [{ prompt }, { prompt }, { prompt, tenant: 'other' }, { prompt, adapter: { identity: 1 } }]
  const answers = await Promise.all(asks.map(read))
  expect(answers.map(({ cached }) => cached)).toEqual([0, 288, 0, 0])
  expect(prefilled()).toBe(4 * 300 - 288)
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
  const left = firstOf(begin({ prompt, signal: leaving.signal }))
  const [second, third] = await Promise.all([read({ prompt }), read({ prompt })])
  expect(await left).toMatchObject([{ type: 'error', code: 'client_closed_request' }])
  expect([second.cached, third.cached]).toEqual([0, 46 * 32])
  expect(backend.usedRows).toBe(0)
})

it('when the late adapter that reads for others leaves, the next reads for the rest, and each makes its own rows', async () => {
  const { backend, begin, engine, prefilled, read } = engineWith()
  const prompt = text(1500)
  const late = (identity: number) => ({ prompt, adapter: { identity, window: 40, tail: 4 } })
  const leaving = new AbortController()
  backend.beforeCall = () => {
    if (prefilled() >= 200) leaving.abort()
  }
  const left = firstOf(begin({ ...late(1), signal: leaving.signal }))
  const waiting = [late(2), late(3), { prompt }, late(4)]
  const answers = await Promise.all(waiting.map(read))
  expect(await left).toMatchObject([{ type: 'error', code: 'client_closed_request' }])
  // A late adapter finds the blocks in front of its window; the backbone finds all those in front of the rows.
  expect(answers.map(({ cached }) => cached)).toEqual([0, 45 * 32, 46 * 32, 45 * 32])
  expect([backend.usedRows, engine.running]).toEqual([0, 0])
})

it('when a late adapter leaves that only waits, those beside it are answered as before', async () => {
  const { backend, begin, engine, prefilled, read } = engineWith()
  const prompt = text(1500)
  const late = (identity: number) => ({ prompt, adapter: { identity, window: 40, tail: 4 } })
  const leaving = new AbortController()
  backend.beforeCall = () => {
    if (prefilled() >= 200) leaving.abort()
  }
  const reader = read(late(1))
  const left = firstOf(begin({ ...late(2), signal: leaving.signal }))
  const answers = await Promise.all([reader, read(late(3)), read(late(4))])
  expect(await left).toMatchObject([{ type: 'error', code: 'client_closed_request' }])
  expect(answers.map(({ cached }) => cached)).toEqual([0, 45 * 32, 45 * 32])
  expect(prefilled()).toBe(1500 + 2 * (1500 - 45 * 32))
  expect([backend.usedRows, engine.running]).toEqual([0, 0])
})

it('at least two tokens of a prompt are run', async () => {
  const { generate } = engineWith()
  for (const length of [128, 129, 130]) await generate({ prompt: text(length) })
  expect((await generate({ prompt: text(128) })).cached).toBe(96)
  expect((await generate({ prompt: text(129) })).cached).toBe(96)
  expect((await generate({ prompt: text(130) })).cached).toBe(128)
})

it('the least recently used go first, and never more is kept than allowed', async () => {
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
  expect(backend.mostKeptBytes).toBeLessThanOrEqual(320)
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
