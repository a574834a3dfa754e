import { describe, expect, it } from 'vitest'
import { engineWith, ids, pinned, range, read } from '../../test/fakes/engine-on-fakes.ts'
import { continuation } from '../../test/fakes/hashed-model.ts'

describe('the engine', () => {
  it("counts an adapter's rows as work, and tells of them", async () => {
    const { submit } = engineWith()
    const tuned = await read(submit({ pin: pinned(1, 10), maxTokens: 1 }))
    expect(tuned.at(-1)).toMatchObject({ usage: { promptTokens: 3, promptRows: 4, completionTokens: 1 } })
    const untuned = await read(submit({ maxTokens: 1 }))
    expect(untuned.at(-1)).toHaveProperty('usage', { promptTokens: 3, completionTokens: 1 })
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
})
