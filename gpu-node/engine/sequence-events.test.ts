import { describe, expect, it } from 'vitest'
import type { GenerateEvent } from '../../shared/wire.ts'
import { SequenceEvents } from './sequence-events.ts'

const token = (id: number): GenerateEvent => ({ type: 'token', id })
const end: GenerateEvent = { type: 'error', code: 'node_error', message: 'over' }

describe('an event stream', () => {
  it('hands over the events of one step in one piece, read early or late', async () => {
    const stream = new SequenceEvents(() => {})
    const first = stream.next()
    stream.push(token(1))
    await Promise.resolve()
    stream.push(token(2))
    expect(await first).toEqual({ done: false, value: [token(1), token(2)] })
    stream.push(token(3))
    stream.end(end)
    expect(await stream.next()).toEqual({ done: false, value: [token(3), end] })
    expect(await stream.next()).toEqual({ done: true, value: undefined })
  })

  it('hands over nothing before the loop turns, so that the next step is begun first', async () => {
    const stream = new SequenceEvents(() => {})
    let read = 0
    const reading = stream.next().then(() => read++)
    stream.push(token(1))
    await nextMicrotasks()
    expect(read).toBe(0)
    await reading
    expect(read).toBe(1)
  })

  it('tells when the reader leaves early, at once, and only then', async () => {
    let left = 0
    const abandoned = new SequenceEvents(() => left++)
    const waiting = abandoned.next()
    await abandoned.return()
    expect(left).toBe(1)
    expect(await waiting).toMatchObject({ done: true })
    abandoned.push(token(1))
    expect(await abandoned.next()).toMatchObject({ done: true })

    const finished = new SequenceEvents(() => left++)
    finished.end(end)
    await finished.return()
    expect(left).toBe(1)
  })
})

/** More microtasks than a delivery takes. */
async function nextMicrotasks(): Promise<void> {
  for (let at = 0; at < 20; at++) await Promise.resolve()
}
