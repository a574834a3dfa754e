import { describe, expect, it } from 'vitest'
import { type Ask, engineWith, ids, pinned, range, read } from '../../test/fakes/engine-on-fakes.ts'
import { continuation } from '../../test/fakes/hashed-model.ts'

describe('the engine', () => {
  it('streams the tokens of the model, then the counts', async () => {
    const { submit } = engineWith()
    const events = await read(submit({ prompt: range(40), maxTokens: 6 }))
    expect(ids(events)).toEqual(continuation(range(40), { count: 6 }))
    expect(events.at(-1)).toMatchObject({
      type: 'done',
      reason: 'length',
      usage: { promptTokens: 40, completionTokens: 6 },
    })
  })

  it('gives every request of a mixed batch the tokens it would get alone', async () => {
    const { backend, submit } = engineWith({ maxBatch: 3 })
    const asks = range(12).map((n) => ({ prompt: range(5 + 7 * n, n), maxTokens: 20 + n, identity: n % 3 }))
    const streams = await Promise.all(
      asks.map(({ identity, ...ask }) =>
        read(submit({ ...ask, ...(identity > 0 && { pin: pinned(identity) }) })),
      ),
    )
    for (const [n, { identity, maxTokens, prompt }] of asks.entries())
      expect(ids(streams[n] ?? [])).toEqual(continuation(prompt, { count: maxTokens, identity }))
    expect(Math.max(...backend.calls.map((call) => (call.type === 'decode' ? call.batch : 0)))).toBe(3)
    expect(backend.usedRows).toBe(0)
  })

  it('runs the chunks and decoded tokens of a step in one call where the cache lies in pages', async () => {
    const { backend, submit } = engineWith({ layout: 'pages', maxBatch: 6 })
    const asks = range(12).map((n) => ({
      prompt: range(3 + (n % 4) * 9, n),
      maxTokens: 20 + n,
      identity: n % 3,
    }))
    const streams = await Promise.all(
      asks.map(({ identity, ...ask }) =>
        read(
          submit({
            ...ask,
            ...(identity > 0 && { pin: pinned(identity, 0, identity === 2 ? 2 : undefined) }),
          }),
        ),
      ),
    )
    for (const [n, { identity, maxTokens, prompt }] of asks.entries())
      expect(ids(streams[n] ?? [])).toEqual(continuation(prompt, { count: maxTokens, identity }))
    const together = backend.calls.flatMap((call) => (call.type === 'together' ? [call] : []))
    expect(Math.max(...together.map(({ chunks }) => chunks.length))).toBeGreaterThan(1)
    expect(together.some(({ batch, chunks }) => batch > 1 && chunks[0]?.tuned === true)).toBe(true)
    expect(backend.usedRows).toBe(0)
  })

  it('gives the event loop turns while it chooses the tokens of a large batch over a large vocabulary', async () => {
    const vocab = 2 ** 18
    const { backend, submit } = engineWith({ maxBatch: 8, vocab })
    let turns = 0
    let counting = true
    const turn = () => {
      turns++
      if (counting) setImmediate(turn)
    }
    turn()
    const turnsBefore: number[] = []
    backend.beforeCall = (call) => {
      if (call.type === 'decode' && call.batch === 8) turnsBefore.push(turns)
    }
    await Promise.all(range(8).map((n) => read(submit({ prompt: [n, n + 1], maxTokens: 3 }))))
    counting = false
    const [first = 0, second = 0] = turnsBefore
    expect(second - first).toBeGreaterThanOrEqual((8 * vocab) / 2 ** 20)
  })

  it('takes the first token from prefill and sends the last one without running it', async () => {
    const { backend, submit } = engineWith()
    await read(submit({ maxTokens: 1 }))
    expect(backend.calls.map(({ type }) => type)).toEqual(['prefill'])
  })

  it('ends at a stop token, which counts and is marked', async () => {
    const { submit } = engineWith()
    const expected = continuation([1, 2, 3], { count: 4 })
    const events = await read(submit({ maxTokens: 50, stopTokens: expected.slice(3) }))
    expect(ids(events)).toEqual(expected)
    expect(events.at(-2)).toMatchObject({ type: 'token', stop: true })
    expect(events.at(-1)).toMatchObject({ reason: 'stop', usage: { completionTokens: 4 } })
  })

  it('delays a running stream by at most one chunk while a long prompt is prefilled', async () => {
    const { backend, submit } = engineWith()
    const running = submit({ maxTokens: 200 })
    const long = submit({ prompt: range(2000), maxTokens: 1 })
    await Promise.all([read(running), read(long)])
    let sinceDecode = 0
    let most = 0
    for (const call of backend.calls.slice(backend.calls.findIndex(({ type }) => type === 'decode'))) {
      sinceDecode = call.type === 'prefill' ? sinceDecode + call.tokens : 0
      most = Math.max(most, sinceDecode)
    }
    expect(most).toBe(16)
    expect(backend.calls.filter(({ type }) => type === 'prefill')).toHaveLength(1 + 125)
  })

  it('does not make a short prompt wait for the end of a long one', async () => {
    const { backend, submit } = engineWith()
    const long = read(submit({ prompt: range(1600), maxTokens: 1 }))
    await read(submit({ prompt: range(10), maxTokens: 1 }))
    expect(backend.calls.length).toBeLessThanOrEqual(3)
    await long
  })

  it('gives the same seed the same tokens, whatever else is in the batch', async () => {
    const ask: Ask = {
      sampling: { temperature: 1.3, topP: 0.95, seed: 42 },
      maxTokens: 20,
      prompt: range(30),
    }
    const alone = await read(engineWith().submit(ask))
    const { submit } = engineWith()
    const crowd = range(9).map((n) =>
      read(submit({ prompt: range(3 + n * 5), maxTokens: 30, sampling: { temperature: 1 } })),
    )
    const crowded = await read(submit(ask))
    await Promise.all(crowd)
    expect(ids(crowded)).toEqual(ids(alone))
  })
})

describe('timings', () => {
  it('are milliseconds in the queue, in prefill and in decode', async () => {
    const { backend, passTime, submit } = engineWith({ maxBatch: 1 })
    backend.beforeCall = ({ type }) => {
      passTime(type === 'prefill' ? 100 : 10)
    }
    const first = read(submit({ maxTokens: 3 }))
    const second = read(submit({ maxTokens: 3 }))
    expect((await first).at(-1)).toMatchObject({ timings: { queueMs: 0, prefillMs: 100, decodeMs: 20 } })
    expect((await second).at(-1)).toMatchObject({ timings: { queueMs: 120, prefillMs: 100, decodeMs: 20 } })
  })
})
