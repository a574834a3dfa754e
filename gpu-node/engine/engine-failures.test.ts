import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Ask, engineWith, ids, pinned, range, read, until } from '../../test/fakes/engine-on-fakes.ts'
import { continuation } from '../../test/fakes/hashed-model.ts'

describe('a backend that fails', () => {
  it('ends every request of the batch with an error, and the engine stays usable', async () => {
    const { backend, engine, submit } = engineWith()
    const streams = range(3).map(() => read(submit({ maxTokens: 50 })))
    await until(() => backend.calls.some(({ type }) => type === 'decode'))
    backend.beforeCall = () => {
      throw new Error('out of memory at 0xdeadbeef')
    }
    for (const events of await Promise.all(streams)) {
      expect(events.at(-1)).toMatchObject({ type: 'error', code: 'node_error', usage: { promptTokens: 3 } })
      expect(JSON.stringify(events)).not.toContain('deadbeef')
    }
    expect(backend.usedRows).toBe(0)
    backend.beforeCall = () => {}
    expect((await read(submit({}))).at(-1)).toMatchObject({ type: 'done' })
    expect(engine.failing).toBe(false)
  })

  it('ends only the request that fails alone, where a call for many failed: prompts and decoded tokens in pages', async () => {
    const { backend, engine, failures, submit } = engineWith({ layout: 'pages', maxBatch: 8 })
    const asks = range(5).map((n) => ({ prompt: range(4 + n), maxTokens: 30 }))
    const running = asks.map((ask) => read(submit(ask)))
    await until(() => backend.calls.some((call) => call.type === 'decode' && call.batch === 5))
    backend.beforeCall = (call) => {
      const chunks = call.type === 'together' ? call.chunks : call.type === 'prefill' ? [call] : []
      if (chunks.some(({ tuned }) => tuned)) throw new Error('broken')
    }
    const guilty = Array.from({ length: 4 }, () => pinned())
    for (const pin of guilty) {
      const beside = submit({ prompt: range(9), maxTokens: 4 })
      expect(await read(submit({ pin }))).toMatchObject([
        { type: 'error', code: 'node_error', usage: { promptTokens: 0, completionTokens: 0 } },
      ])
      expect(ids(await read(beside))).toEqual(continuation(range(9), { count: 4 }))
      expect(pin.released).toBe(1)
    }
    for (const [n, { maxTokens, prompt }] of asks.entries())
      expect(ids((await running[n]) ?? [])).toEqual(continuation(prompt, { count: maxTokens }))
    expect(engine.failing).toBe(false)
    expect(failures.length).toBeGreaterThan(guilty.length)
    expect(backend.usedRows).toBe(0)
  })

  it('ends only the decoding request that fails alone, of a batch', async () => {
    const { backend, submit } = engineWith()
    const streams = range(4).map((n) => read(submit({ prompt: range(4, n), maxTokens: 30 })))
    await until(() => backend.calls.some((call) => call.type === 'decode' && call.batch === 4))
    // All four, the first two, the first.
    const failing = [4, 2, 1]
    backend.beforeCall = (call) => {
      if (call.type === 'decode' && call.batch === failing[0]) throw new Error(`${failing.shift()} failed`)
    }
    const [first, ...others] = await Promise.all(streams)
    expect(first?.at(-1)).toMatchObject({ type: 'error', code: 'node_error' })
    for (const [n, events] of others.entries())
      expect(ids(events)).toEqual(continuation(range(4, n + 1), { count: 30 }))
    expect(failing).toEqual([])
    expect(backend.usedRows).toBe(0)
  })

  it.each(['pages', 'host'] as const)(
    'leaves the others’ tokens as they are and no row behind, whatever fails and whoever leaves (%s)',
    async (layout) => {
      const draws = fc.sample(fc.nat(99), { numRuns: 20_000, seed: 5 })
      const dice = () => draws.pop() ?? 99
      const { backend, submit } = engineWith({ layout, maxBatch: 6, cacheRows: 400 })
      const leaving: AbortController[] = []
      backend.beforeCall = async () => {
        await Promise.resolve()
        if (dice() < 4) leaving.splice(dice() % (leaving.length + 1), 1)[0]?.abort()
        if (dice() < 12) throw new Error('broken')
      }
      const asks = range(60).map((n) => ({
        prompt: range(3 + (dice() % 40), n),
        maxTokens: 1 + (dice() % 30),
      }))
      const ends = await Promise.all(
        asks.map(async (ask, n) => {
          const controller = new AbortController()
          leaving.push(controller)
          const pin = n % 3 === 0 ? undefined : pinned(n, n % 4, n % 3 === 1 ? undefined : 2)
          const events = await read(submit({ ...ask, signal: controller.signal, ...(pin && { pin }) }))
          expect(pin?.released ?? 1).toBe(1)
          const expected = continuation(ask.prompt, { count: ask.maxTokens, identity: pin ? n : 0 })
          const found = ids(events)
          const last = events.at(-1)
          expect(found).toEqual(last?.type === 'done' ? expected : expected.slice(0, found.length))
          expect(events.filter(({ type }) => type !== 'token')).toHaveLength(1)
          return last?.type === 'error' ? last.code : last?.type
        }),
      )
      expect(new Set(ends)).toEqual(new Set(['done', 'node_error', 'client_closed_request']))
      expect(backend.usedRows).toBe(0)
    },
  )

  it('is not tried again for anyone where its device is lost', async () => {
    const { backend, engine, failures, submit } = engineWith()
    const streams = range(4).map(() => read(submit({ maxTokens: 30 })))
    await until(() => backend.calls.some((call) => call.type === 'decode' && call.batch === 4))
    backend.beforeCall = () => {
      throw new Error('run failed', { cause: new Error('CUDA failure 700: an illegal memory access') })
    }
    for (const events of await Promise.all(streams))
      expect(events.at(-1)).toMatchObject({ type: 'error', code: 'node_error' })
    expect(failures).toHaveLength(1)
    expect(engine.failing).toBe(false)
    expect(backend.usedRows).toBe(0)
  })

  it('counts one failure for a step, however many calls it was tried in', async () => {
    const { backend, engine, submit } = engineWith()
    const streams = range(4).map(() => read(submit({ maxTokens: 30 })))
    await until(() => backend.calls.some((call) => call.type === 'decode' && call.batch === 4))
    backend.beforeCall = () => {
      throw new Error('broken')
    }
    await Promise.all(streams)
    expect(engine.failing).toBe(false)
  })

  it('ends only the request whose prefill failed', async () => {
    const { backend, submit } = engineWith()
    const running = read(submit({ maxTokens: 30 }))
    await until(() => backend.calls.some(({ type }) => type === 'decode'))
    backend.beforeCall = ({ type }) => {
      if (type === 'prefill') throw new Error('broken')
    }
    const pin = pinned()
    expect(await read(submit({ pin }))).toMatchObject([{ code: 'node_error' }])
    expect(pin.released).toBe(1)
    expect((await running).at(-1)).toMatchObject({ type: 'done' })
  })

  it('is reported as failing after three steps, until it works again', async () => {
    const { backend, engine, submit } = engineWith()
    backend.beforeCall = () => {
      throw new Error('broken')
    }
    for (let n = 0; n < 3; n++) await read(submit({}))
    expect(engine.failing).toBe(true)
    backend.beforeCall = () => {}
    await read(submit({}))
    expect(engine.failing).toBe(false)
  })

  it('is one that gives NaN for logits: an error, no token', async () => {
    const { backend, submit } = engineWith()
    backend.alterLogits = (logits) => logits.fill(Number.NaN, 5, 6)
    expect(await read(submit({}))).toMatchObject([{ type: 'error', code: 'node_error' }])
    expect(backend.usedRows).toBe(0)
  })

  it('is none where an adapter makes the logits NaN: its own request alone ends, told to be the adapter', async () => {
    const { backend, engine, failures, submit } = engineWith()
    const running = read(submit({ maxTokens: 30 }))
    await until(() => backend.calls.some(({ type }) => type === 'decode'))
    backend.alterLogits = (logits) => {
      if (backend.calls.at(-1)?.type === 'prefill') logits.fill(Number.NaN)
    }
    for (let n = 0; n < 4; n++) {
      const pin = pinned()
      expect(await read(submit({ pin }))).toMatchObject([
        { type: 'error', code: 'adapter_unusable', usage: { completionTokens: 0 } },
      ])
      expect(pin.released).toBe(1)
    }
    expect(engine.failing).toBe(false)
    expect(failures).toEqual([])
    expect((await running).at(-1)).toMatchObject({ type: 'done' })
  })

  it('charges the tokens it ran of a prompt whose adapter makes the logits NaN, also where scores are asked for', async () => {
    const { backend, submit } = engineWith()
    backend.alterLogits = (logits) => logits.fill(Number.NaN)
    const usageOf = async (ask: Ask) => (await read(submit({ pin: pinned(), ...ask }))).at(-1)
    const prompt = range(12)
    for (const asked of [{}, { promptLogprobs: 1 }, { promptLogprobs: 0, maxTokens: 0 }])
      expect(await usageOf({ prompt, ...asked })).toMatchObject({
        code: 'adapter_unusable',
        usage: { promptTokens: 12, promptRows: 4, completionTokens: 0 },
      })
    // The first chunk of several: its scores end the request.
    expect(await usageOf({ prompt: range(40), promptLogprobs: 1 })).toMatchObject({
      usage: { promptTokens: 12, promptRows: 4 },
    })
  })

  it('does not stop the engine by throwing where nothing should throw', async () => {
    const { backend, submit } = engineWith()
    const { allocate } = backend
    backend.allocate = () => {
      throw new Error('broken')
    }
    expect(await read(submit({}))).toMatchObject([{ type: 'error', code: 'internal_error' }])
    backend.allocate = allocate.bind(backend)
    expect((await read(submit({}))).at(-1)).toMatchObject({ type: 'done' })
  })
})
