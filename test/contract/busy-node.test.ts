import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { TenantId } from '../../shared/ids.ts'
import { hasRequests } from '../../training/trainer/nodes-beside.ts'
import { FakeBackend } from '../fakes/fake-backend.ts'
import { fakeNode, key, nodeId, readEvents, refusal, until } from './node-client.ts'

const other = TenantId.parse('umbrella')

let node: Awaited<ReturnType<typeof fakeNode>>

beforeAll(async () => {
  node = await fakeNode()
})
afterEach(() => {
  node.backend.beforeCall = () => {}
})
afterAll(() => node.close())

describe('a client that leaves', () => {
  it('frees its row within one step', async () => {
    const abort = new AbortController()
    node.backend.beforeCall = () => delay(10)
    const response = await node.generate({ maxTokens: 1000 }, { signal: abort.signal })
    await response.body?.getReader().read()
    expect(node.backend.usedRows).toBe(1003)
    const calls = node.backend.calls.length
    abort.abort()
    await until(() => node.backend.usedRows === 0)
    expect(node.backend.calls.length - calls).toBeLessThanOrEqual(2)
  })

  it('leaves the queue as well', async () => {
    const busy = await fakeNode({ backend: new FakeBackend({ maxBatch: 1 }) })
    busy.backend.beforeCall = () => delay(5)
    const running = await busy.generate({ maxTokens: 60 })
    const abort = new AbortController()
    await busy.generate({}, { signal: abort.signal })
    expect(await busy.metric('quartet_node_queue_length')).toBe(1)
    abort.abort()
    await until(async () => (await busy.metric('quartet_node_queue_length')) === 0)
    expect(busy.backend.calls.filter(({ type }) => type === 'prefill')).toHaveLength(1)
    await readEvents(running)
    await busy.close()
  })
})

describe('a busy node', () => {
  it('answers queue_full with Retry-After beyond its queue', async () => {
    const busy = await fakeNode({ backend: new FakeBackend({ maxBatch: 1 }), settings: { queue: 2 } })
    await readEvents(await busy.generate())
    const gate = Promise.withResolvers<void>()
    busy.backend.beforeCall = () => gate.promise
    const streams = [await busy.generate()]
    await until(() => busy.backend.usedRows > 0)
    streams.push(await busy.generate(), await busy.generate({}, { claims: { tenant: other } }))
    const refused = await busy.generate({}, { claims: { tenant: TenantId.parse('third') } })
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await refusal(refused)).toMatchObject({ status: 429, code: 'queue_full' })
    gate.resolve()
    for (const stream of streams) expect((await readEvents(stream)).at(-1)).toMatchObject({ type: 'done' })
    await busy.close()
  })

  it('ends a stream whose step fails with an error event, and goes on', async () => {
    node.backend.beforeCall = ({ type }) => {
      if (type === 'decode') throw new Error('secret detail')
    }
    const response = await node.generate()
    const events = await readEvents(response)
    expect(events.at(-1)).toMatchObject({ type: 'error', code: 'node_error' })
    expect(JSON.stringify(events)).not.toContain('secret detail')
    node.backend.beforeCall = () => {}
    expect((await readEvents(await node.generate())).at(-1)).toMatchObject({ type: 'done' })
  })
})

it('a trainer beside it sees whether it has requests; a node that is gone has none', async () => {
  const gate = Promise.withResolvers<void>()
  node.backend.beforeCall = ({ type }) => (type === 'decode' ? gate.promise : undefined)
  const isBusy = (url: string) => hasRequests([{ id: nodeId, url }], key)
  expect(await isBusy(node.url)).toBe(false)
  const response = await node.generate({ maxTokens: 2 })
  expect(await isBusy(node.url)).toBe(true)
  gate.resolve()
  await response.text()
  await until(async () => !(await isBusy(node.url)))
  expect(await isBusy('http://127.0.0.1:9')).toBe(false)
})
