import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { QuartetError } from '../../shared/errors.ts'
import { type Ask, engineWith, ids, pinned, range, read, until } from '../../test/fakes/engine-on-fakes.ts'
import { continuation } from '../../test/fakes/fake-backend.ts'

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

  it("counts an adapter's rows as work, and tells of them", async () => {
    const { submit } = engineWith()
    const tuned = await read(submit({ pin: pinned(1, 10), maxTokens: 1 }))
    expect(tuned.at(-1)).toMatchObject({ usage: { promptTokens: 3, promptRows: 4, completionTokens: 1 } })
    const untuned = await read(submit({ maxTokens: 1 }))
    expect(untuned.at(-1)).toHaveProperty('usage', { promptTokens: 3, completionTokens: 1 })
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

  it("gives the adapter with the first chunk only, and that chunk holds the adapter's window", async () => {
    const { backend, submit } = engineWith()
    await Promise.all([
      read(submit({ prompt: range(5), maxTokens: 1 })),
      read(submit({ prompt: range(40), maxTokens: 1, pin: pinned(1, 10) })),
      read(submit({ prompt: range(40), maxTokens: 1, pin: pinned(2, 24) })),
    ])
    const tuned = backend.calls.flatMap((call) =>
      call.type === 'prefill' && call.tuned ? [call.tokens] : [],
    )
    // Its 4 rows count in the chunk.
    expect(tuned).toEqual([12, 24])
  })

  it('runs late rows with the last chunk, which holds their window and tail', async () => {
    const { backend, submit } = engineWith()
    const events = await Promise.all(
      [100, 41, 30, 12].map((length) =>
        read(submit({ prompt: range(length), maxTokens: 3, pin: pinned(length, 20, 4) })),
      ),
    )
    for (const [at, length] of [100, 41, 30, 12].entries()) {
      expect(ids(events[at] ?? [])).toEqual(continuation(range(length), { count: 3, identity: length }))
      expect(events[at]?.at(-1)).toMatchObject({ usage: { promptTokens: length, promptRows: 4 } })
    }
    const prefills = backend.calls.flatMap((call) => (call.type === 'prefill' ? [call] : []))
    expect(prefills.filter(({ tuned }) => tuned).length).toBe(4)
    expect(Math.min(...prefills.map(({ tokens }) => tokens))).toBeGreaterThan(1)
  })

  it('refuses a prompt that has nothing in front of late rows, by name', () => {
    const { submit } = engineWith()
    const pin = pinned(1, 20, 4)
    expect(() => submit({ prompt: range(4), pin })).toThrow(
      expect.objectContaining({ code: 'invalid_request', param: 'prompt' }),
    )
    expect(pin.released).toBe(1)
  })

  it('a prompt shorter than window and tail runs as one chunk, and its rows read all of it', async () => {
    const { backend, submit } = engineWith()
    await read(submit({ prompt: range(5), maxTokens: 1, pin: pinned(1, 20, 4) }))
    expect(backend.calls).toEqual([{ type: 'prefill', tokens: 5, tuned: true }])
  })

  it('refuses late rows that the context has no room for', () => {
    const { submit } = engineWith({ contextLength: 32 })
    expect(() => submit({ prompt: range(20), maxTokens: 9, pin: pinned(1, 8, 4) })).toThrow(
      expect.objectContaining({ code: 'context_length_exceeded' }),
    )
  })

  it('admits by cache rows, and room freed lets the next one in', async () => {
    const { backend, submit } = engineWith({ cacheRows: 40, contextLength: 40 })
    let most = 0
    backend.beforeCall = () => {
      most = Math.max(most, backend.usedRows)
    }
    const all = await Promise.all(range(6).map(() => read(submit({ prompt: range(10), maxTokens: 8 }))))
    expect(all.every((events) => events.at(-1)?.type === 'done')).toBe(true)
    expect(most).toBe(36)
    expect(backend.usedRows).toBe(0)
  })

  it('refuses what can never fit, the prompt rows counted', () => {
    const { submit } = engineWith({ contextLength: 32 })
    const pin = pinned()
    expect(() => submit({ prompt: range(20), maxTokens: 9, pin })).toThrow(
      expect.objectContaining({ code: 'context_length_exceeded' }),
    )
    expect(pin.released).toBe(1)
    expect(() => submit({ prompt: range(20), maxTokens: 13 })).toThrow(
      expect.objectContaining({ code: 'context_length_exceeded' }),
    )
  })

  it('refuses token ids outside the vocabulary, by name', () => {
    const { submit } = engineWith()
    expect(() => submit({ prompt: [1, 64] })).toThrow(expect.objectContaining({ param: 'prompt[1]' }))
    expect(() => submit({ sampling: { logitBias: [[64, 1]] } })).toThrow(
      expect.objectContaining({ param: 'sampling.logitBias[0]' }),
    )
  })

  it('has room for whoever waits as long as a full queue’s Retry-After says', async () => {
    const { backend, passTime, submit } = engineWith({ maxBatch: 2 }, { total: 12 })
    const random = fc.sample(fc.nat(19), { numRuns: 3_000, seed: 11 })
    const dice = () => random.pop() ?? 0
    const streams: Promise<unknown>[] = []
    let now = 0
    let due: number | undefined
    let kept = 0
    const ask = () => {
      try {
        const timeoutMs = dice() === 0 ? 3_000 : 600_000
        streams.push(read(submit({ prompt: range(3 + 5 * dice()), maxTokens: 1 + 2 * dice(), timeoutMs })))
        if (due !== undefined) kept += 1
        due = undefined
      } catch (thrown) {
        expect(thrown).toMatchObject({ code: 'queue_full' })
        // Nobody asked in between, so what was promised must be there.
        expect(due, `room was promised for ${due}, and it is ${now}`).toBeUndefined()
        const wait = thrown instanceof QuartetError ? thrown.retryAfterSeconds : undefined
        if (wait !== undefined) due = now + 1_000 * wait
      }
    }
    backend.beforeCall = ({ type }) => {
      const ms = (type === 'prefill' ? 300 : 200) + 5 * dice()
      now += ms
      passTime(ms)
      if (streams.length < 60 && (due === undefined || now >= due)) ask()
    }
    ask()
    for (let read = 0; read < streams.length; read++) await streams[read]
    expect(streams).toHaveLength(60)
    expect(kept).toBeGreaterThan(10)
  })

  it('has room when a full queue’s Retry-After is over, and not a second before, where steps keep their pace', async () => {
    const { backend, passTime, submit } = engineWith({ maxBatch: 1 }, { total: 1 })
    const streams: Promise<unknown>[] = []
    const waits: (number | undefined)[] = []
    const ask = () => {
      try {
        streams.push(read(submit({ maxTokens: 40 })))
      } catch (thrown) {
        waits.push(thrown instanceof QuartetError ? thrown.retryAfterSeconds : undefined)
      }
    }
    const stepMs = 250
    let now = 0
    let due: number | undefined
    backend.beforeCall = ({ type }) => {
      if (type === 'prefill') return
      // Behind the first decode step the pace is known.
      if (now === stepMs) {
        ask()
        due = now + 1_000 * (waits[0] ?? 0)
      } else if (due !== undefined && (now === due - 1_000 || now === due)) ask()
      now += stepMs
      passTime(stepMs)
    }
    ask()
    await until(() => backend.calls.length > 0)
    ask()
    for (let at = 0; at < streams.length; at++) await streams[at]
    // Prefill gave the first of 40 tokens, and a step the second.
    expect(waits).toEqual([Math.ceil((38 * stepMs) / 1_000), 1])
    expect(streams).toHaveLength(3)
  })

  it('refuses with queue_full and a Retry-After beyond the bound', async () => {
    const { submit } = engineWith({ maxBatch: 1 }, { total: 2 })
    const streams = [submit({}), submit({})].map(read)
    expect(() => submit({})).toThrow(expect.objectContaining({ code: 'queue_full', retryAfterSeconds: 1 }))
    await Promise.all(streams)
    await read(submit({}))
  })

  it('keeps a greedy tenant from starving a modest one', async () => {
    const { submit } = engineWith({ maxBatch: 2 })
    const order: string[] = []
    const ask = async (tenant: string) => {
      await read(submit({ tenant, maxTokens: 4 }))
      order.push(tenant)
    }
    const all = Array.from({ length: 30 }, () => ask('greedy'))
    await until(() => order.length >= 4)
    all.push(ask('modest'))
    await Promise.all(all)
    expect(order.indexOf('modest')).toBeLessThanOrEqual(4 + 4)
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

describe('a cancelled request', () => {
  it('leaves the queue without ever running', async () => {
    const { backend, engine, submit } = engineWith({ maxBatch: 1 })
    const running = read(submit({ maxTokens: 30 }))
    const abort = new AbortController()
    const pin = pinned()
    const queued = read(submit({ signal: abort.signal, pin }))
    await until(() => backend.calls.length > 3)
    expect(engine.waiting).toBe(1)
    abort.abort()
    expect(await queued).toMatchObject([{ type: 'error', code: 'client_closed_request' }])
    expect(pin.released).toBe(1)
    await running
    expect(backend.calls.filter(({ type }) => type === 'prefill')).toHaveLength(1)
  })

  it('frees its row at the next step, in prefill', async () => {
    const { backend, submit } = engineWith()
    const abort = new AbortController()
    const pin = pinned()
    const stream = read(submit({ prompt: range(1000), signal: abort.signal, pin }))
    await until(() => backend.calls.length === 3)
    abort.abort()
    expect(await stream).toMatchObject([{ code: 'client_closed_request', usage: { completionTokens: 0 } }])
    expect(backend.calls.length).toBeLessThanOrEqual(4)
    expect(backend.usedRows).toBe(0)
    expect(pin.released).toBe(1)
  })

  it('frees its row at the next step, in decode, and others go on', async () => {
    const { backend, submit } = engineWith()
    const abort = new AbortController()
    const other = read(submit({ maxTokens: 40 }))
    const stream = read(submit({ maxTokens: 500, signal: abort.signal }))
    await until(() => backend.calls.length === 10)
    abort.abort()
    expect((await stream).at(-1)).toMatchObject({ code: 'client_closed_request' })
    expect(backend.calls.slice(11).every((call) => call.type === 'decode' && call.batch === 1)).toBe(true)
    expect(ids(await other)).toEqual(continuation([1, 2, 3], { count: 40 }))
    expect(backend.usedRows).toBe(0)
  })

  it('is one whose reader stopped reading', async () => {
    const { backend, engine, submit } = engineWith()
    for await (const _ of submit({ maxTokens: 1000 })) break
    await engine.drain()
    expect(backend.calls.length).toBeLessThan(5)
    expect(backend.usedRows).toBe(0)
  })

  it('is refused when the client had left before it came', () => {
    const { submit } = engineWith()
    expect(() => submit({ signal: AbortSignal.abort() })).toThrow(
      expect.objectContaining({ code: 'client_closed_request' }),
    )
  })
})

describe('a deadline', () => {
  it('ends a request in the queue and one that runs', async () => {
    const { backend, passTime, submit } = engineWith({ maxBatch: 1 })
    backend.beforeCall = () => {
      passTime(10)
    }
    const running = read(submit({ maxTokens: 100, timeoutMs: 200 }))
    const queued = read(submit({ timeoutMs: 50 }))
    expect(await queued).toMatchObject([{ type: 'error', code: 'deadline_exceeded' }])
    const events = await running
    expect(events.at(-1)).toMatchObject({ code: 'deadline_exceeded', usage: { completionTokens: 20 } })
    expect(backend.usedRows).toBe(0)
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

describe('draining', () => {
  it('refuses new requests and finishes those it has', async () => {
    const { engine, submit } = engineWith({ maxBatch: 1 })
    const streams = [submit({}), submit({})].map(read)
    const drained = engine.drain()
    expect(() => submit({})).toThrow(expect.objectContaining({ code: 'draining' }))
    await drained
    for (const events of await Promise.all(streams)) expect(events.at(-1)).toMatchObject({ type: 'done' })
  })

  it('ends what still runs when the node closes', async () => {
    const { backend, engine, submit } = engineWith({ maxBatch: 1 })
    const streams = [submit({ maxTokens: 3000 }), submit({})].map(read)
    await until(() => backend.calls.length > 3)
    await engine.close()
    for (const events of await Promise.all(streams)) expect(events.at(-1)).toMatchObject({ code: 'draining' })
    expect(backend.usedRows).toBe(0)
    expect(backend.closed).toBe(true)
  })
})
