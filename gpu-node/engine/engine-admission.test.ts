import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { QuartetError } from '../../shared/errors.ts'
import { engineWith, pinned, range, read, until } from '../../test/fakes/engine-on-fakes.ts'

describe('the engine', () => {
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
})
