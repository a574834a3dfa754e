import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { NodeId } from '../../shared/heartbeat.ts'
import { AdapterDigest, adapterKey, BackboneDigest, TenantId } from '../../shared/ids.ts'
import type { GenerateEvent } from '../../shared/wire.ts'
import type { FleetNode } from '../fleet/nodes.ts'
import { type Attempt, Dispatch } from './dispatch.ts'
import { firstAnswer, silentMs } from './first-answer.ts'
import { NodeFailure } from './node-failures.ts'
import { Router } from './router.ts'

const backbone = BackboneDigest.parse('ab'.repeat(32))
const nodes: FleetNode[] = ['a', 'b', 'c'].map((id) => ({
  id: NodeId.parse(id),
  url: `http://${id}`,
  report: null,
}))
const ask = {
  adapter: adapterKey(TenantId.parse('acme'), AdapterDigest.parse('cd'.repeat(32))),
  backbone,
  rows: 100,
  promptTokens: 64,
  region: '',
}

/** A fleet whose nodes answer when a test says so. */
class Scene {
  readonly router = new Router()
  readonly controller = new AbortController()
  fleet: readonly FleetNode[] = nodes
  readonly opened: {
    attempt: Attempt
    answer: () => void
    fail: (cause: string) => void
    aborted: () => boolean
  }[] = []
  readonly closed: string[] = []
  readonly failures: [number: number, node: string, reason: string][] = []
  /** An answering node sends these after its first token. */
  rest: (signal: AbortSignal) => AsyncGenerator<readonly GenerateEvent[], void> = async function* () {}

  start() {
    const answer = firstAnswer({
      dispatch: new Dispatch(this.router, ask),
      nodes: async () => this.fleet,
      open: (attempt, signal) => this.#open(attempt, signal),
      failed: ({ node, number }, { reason }) => this.failures.push([number, node.id, reason]),
      signal: this.controller.signal,
    })
    answer.catch(() => undefined)
    return answer
  }

  #open(attempt: Attempt, signal: AbortSignal) {
    const { promise, reject, resolve } =
      Promise.withResolvers<AsyncGenerator<readonly GenerateEvent[], void>>()
    signal.addEventListener('abort', () => reject(new Error('aborted')))
    this.opened.push({
      attempt,
      answer: () => resolve(this.#events(attempt, signal)),
      fail: (cause) => reject(new NodeFailure(cause, { message: cause })),
      aborted: () => signal.aborted,
    })
    return promise
  }

  async *#events(attempt: Attempt, signal: AbortSignal): AsyncGenerator<readonly GenerateEvent[], void> {
    try {
      yield [{ type: 'token', id: 1 }]
      yield* this.rest(signal)
    } finally {
      this.closed.push(attempt.node.id)
    }
  }

  get inFlight() {
    return nodes.map(({ id }) => this.router.inFlight.count(id)).reduce((sum, count) => sum + count, 0)
  }

  /** First tokens come after 100 ms as a rule. */
  warm(): this {
    for (let i = 0; i < 50; i++) this.router.firstTokenTimes.observed(64, 100)
    return this
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const settle = () => vi.advanceTimersByTimeAsync(0)

describe('a hedge', () => {
  test('goes to a second node when the first is slower than it should be, and the loser is cancelled', async () => {
    const scene = new Scene().warm()
    const answer = scene.start()
    await vi.advanceTimersByTimeAsync(149)
    expect(scene.opened).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(1)
    expect(scene.opened).toHaveLength(2)
    scene.opened[1]?.answer()
    const won = await answer
    expect(won?.attempt.node.id).toBe(scene.opened[1]?.attempt.node.id)
    expect(won).toMatchObject({ retries: 0, attempt: { number: 1 } })
    expect(scene.opened[0]?.aborted()).toBe(true)
    expect(scene.inFlight).toBe(1)
    for await (const _ of won?.events ?? []);
    expect(scene.inFlight).toBe(0)
  })

  test('is one at most, however long both take', async () => {
    const scene = new Scene().warm()
    scene.start()
    await vi.advanceTimersByTimeAsync(10_000)
    expect(scene.opened).toHaveLength(2)
    scene.controller.abort()
    await settle()
    expect(scene.inFlight).toBe(0)
  })

  test('saves a request whose first node fails, without another attempt', async () => {
    const scene = new Scene().warm()
    const answer = scene.start()
    await vi.advanceTimersByTimeAsync(150)
    scene.opened[0]?.fail('internal_error')
    await settle()
    expect(scene.opened).toHaveLength(2)
    scene.opened[1]?.answer()
    expect(await answer).toMatchObject({ retries: 1 })
  })
})

describe('failover', () => {
  test('goes to no third node where two went away with a request, also when one of them was its hedge', async () => {
    const scene = new Scene().warm()
    const answer = scene.start()
    await vi.advanceTimersByTimeAsync(150)
    for (const { fail } of [...scene.opened]) {
      fail('truncated')
      await settle()
    }
    await expect(answer).rejects.toMatchObject({ message: 'truncated' })
    expect(scene.opened).toHaveLength(2)
  })

  test('goes from node to node, each once, and ends with the last failure', async () => {
    const scene = new Scene()
    const answer = scene.start()
    for (let at = 0; at < 3; at++) {
      await settle()
      scene.opened[at]?.fail('internal_error')
    }
    await expect(answer).rejects.toMatchObject({ message: 'internal_error' })
    expect(new Set(scene.opened.map(({ attempt }) => attempt.node.id)).size).toBe(3)
    expect(scene.failures).toEqual(
      scene.opened.map(({ attempt }, at) => [at, attempt.node.id, 'internal_error']),
    )
    expect(scene.inFlight).toBe(0)
  })

  test('waits for a node that was lost when it was asked, as nobody else was left, but not for ever', async () => {
    const scene = new Scene()
    scene.fleet = scene.fleet.map((each) => ({ ...each, isLost: true }))
    const answer = scene.start()
    await vi.advanceTimersByTimeAsync(25_000)
    expect(scene.failures).toEqual([])
    await vi.advanceTimersByTimeAsync(10_000)
    scene.controller.abort(new Error('enough'))
    await expect(answer).rejects.toThrow()
    expect(scene.failures[0]?.[2]).toBe('lost')
  })

  test('goes on waiting where every node is lost, as in a burst on a busy machine, until one is heard of or for 30 s', async () => {
    const scene = new Scene()
    const answer = scene.start()
    await settle()
    scene.fleet = nodes.map((each) => ({ ...each, isLost: true }))
    await vi.advanceTimersByTimeAsync(25_000)
    scene.fleet = nodes
    await vi.advanceTimersByTimeAsync(2_500)
    scene.fleet = nodes.map((each) => ({ ...each, isLost: true }))
    await vi.advanceTimersByTimeAsync(25_000)
    expect(scene.opened).toHaveLength(1)
    expect(scene.failures).toEqual([])
    await vi.advanceTimersByTimeAsync(10_000)
    expect(scene.failures[0]?.[2]).toBe('lost')
    scene.controller.abort(new Error('enough'))
    await expect(answer).rejects.toThrow()
  })

  test('goes on waiting at a lost node where the others are busy with long queues', async () => {
    const scene = new Scene()
    scene.start().catch(() => undefined)
    await settle()
    const silent = scene.opened[0]?.attempt.node.id
    for (const { id } of nodes) for (let at = 0; at < 40; at++) scene.router.inFlight.began(id)
    scene.fleet = nodes.map((each) => (each.id === silent ? { ...each, isLost: true } : each))
    await vi.advanceTimersByTimeAsync(25_000)
    expect(scene.opened).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(10_000)
    expect(scene.opened).toHaveLength(2)
    scene.controller.abort(new Error('enough'))
  })

  test('leaves a node that the fleet has lost while it is silent', async () => {
    const scene = new Scene()
    const answer = scene.start()
    await settle()
    const silent = scene.opened[0]?.attempt.node.id
    scene.fleet = nodes.map((each) => (each.id === silent ? { ...each, isLost: true } : each))
    await vi.advanceTimersByTimeAsync(2_500)
    expect(scene.opened).toHaveLength(2)
    expect(scene.opened[0]?.aborted()).toBe(true)
    scene.opened[1]?.answer()
    expect(await answer).toMatchObject({ retries: 1 })
  })

  test('waits for a slow node that is still in the fleet', async () => {
    const scene = new Scene()
    const answer = scene.start()
    await vi.advanceTimersByTimeAsync(60_000)
    scene.opened[0]?.answer()
    expect(await answer).toMatchObject({ retries: 0 })
    expect(scene.opened).toHaveLength(1)
  })
})

describe('a stream that has begun', () => {
  const token = (id: number): GenerateEvent[] => [{ type: 'token', id }]
  const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
  const begin = async (rest: Scene['rest']) => {
    const scene = new Scene()
    scene.rest = rest
    const answer = scene.start()
    await settle()
    scene.opened[0]?.answer()
    const begun = await answer
    if (begun === undefined) throw new Error('unreachable')
    return { scene, ...begun }
  }

  test('and of which nothing more comes is given up: the call is cut off, and the node avoided', async () => {
    const { attempt, events, scene } = await begin(async function* (signal) {
      yield token(2)
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    })
    await events.next()
    await events.next()
    const third = events.next()
    third.catch(() => undefined)
    await vi.advanceTimersByTimeAsync(silentMs - 1)
    expect(scene.opened[0]?.aborted()).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    await expect(third).rejects.toMatchObject({ verdict: { code: 'node_error', retry: 'elsewhere' } })
    expect(scene.opened[0]?.aborted()).toBe(true)
    expect(scene.closed).toEqual([attempt.node.id])
    expect(scene.router.breakers.state(attempt.node)).toBe('open')
    expect(scene.failures).toEqual([[0, attempt.node.id, 'silent']])
    expect(scene.inFlight).toBe(0)
  })

  test('may be slow for as long as it likes', async () => {
    const { attempt, events, scene } = await begin(async function* () {
      for (let id = 2; id < 10; id++) {
        await wait(silentMs - 1)
        yield token(id)
      }
    })
    const all = (async () => {
      let count = 0
      for await (const group of events) count += group.length
      return count
    })()
    await vi.advanceTimersByTimeAsync(9 * silentMs)
    expect(await all).toBe(9)
    expect(scene.router.breakers.state(attempt.node)).toBe('closed')
  })

  test('is not silent while its reader takes its time', async () => {
    const { events } = await begin(async function* () {
      yield token(2)
    })
    await events.next()
    await vi.advanceTimersByTimeAsync(3 * silentMs)
    expect((await events.next()).value).toEqual(token(2))
    expect((await events.next()).done).toBe(true)
  })
})

test('a client that leaves ends every attempt', async () => {
  const scene = new Scene().warm()
  const answer = scene.start()
  await vi.advanceTimersByTimeAsync(150)
  scene.controller.abort(new Error('the client left'))
  await expect(answer).rejects.toThrow('the client left')
  expect(scene.opened.every(({ aborted }) => aborted())).toBe(true)
  expect(scene.failures).toEqual([])
  expect(scene.inFlight).toBe(0)
  expect(nodes.map((node) => scene.router.breakers.state(node))).toEqual(['closed', 'closed', 'closed'])
})

test('without nodes there is no answer', async () => {
  const scene = new Scene()
  scene.fleet = []
  expect(await scene.start()).toBeUndefined()
})
