import { describe, expect, it } from 'vitest'
import { engineWith, ids, pinned, range, read, until } from '../../test/fakes/engine-on-fakes.ts'
import { continuation } from '../../test/fakes/hashed-model.ts'

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
