import { createServer } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { listen } from '../../gpu-node/server/listen.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { NodeInfo } from '../../shared/wire.ts'
import { fakeNode, generateRequest, readEvents, refusal, tenant } from './node-client.ts'

let node: Awaited<ReturnType<typeof fakeNode>>

beforeAll(async () => {
  node = await fakeNode()
})
afterAll(() => node.close())

describe('a node', () => {
  it('says what it is and how busy', async () => {
    expect(NodeInfo.parse(await (await node.info()).json())).toMatchObject({
      backbone: { slug: 'fake' },
      contextLength: 4096,
      maxBatch: 4,
      running: 0,
      draining: false,
    })
  })

  it('refuses unknown paths and methods in the shape of every error', async () => {
    expect(await refusal(await fetch(`${node.url}/v2/generate`))).toMatchObject({
      status: 404,
      code: 'not_found',
    })
    const wrong = await fetch(`${node.url}/v1/generate`, { method: 'DELETE' })
    expect(wrong.headers.get('allow')).toBe('POST')
    expect(await refusal(wrong)).toMatchObject({ status: 405, code: 'method_not_allowed' })
  })

  it('tells browsers to take each answer as what it says it is, a refusal too', async () => {
    const headers = await node.bearer({ body: await sha256Hex('{}') })
    const answers = [
      await fetch(`${node.url}/health`),
      await fetch(`${node.url}/metrics`),
      await node.info(),
      await node.generate({ maxTokens: 1 }),
      await fetch(`${node.url}/v2/generate`),
      await fetch(`${node.url}/v1/generate`, { method: 'DELETE' }),
      await fetch(`${node.url}/v1/node`),
      await fetch(`${node.url}/v1/generate`, { method: 'POST', headers, body: '{}' }),
      await fetch(`${node.url}/v1/settlements`, { method: 'POST', headers, body: '{' }),
    ]
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 404, 405, 401, 401, 401])
    for (const { headers: told, url } of answers)
      expect(told.get('x-content-type-options'), url).toBe('nosniff')
  })

  it('listens at once and is ready when its backbone is loaded', async () => {
    const backbone = Promise.withResolvers<void>()
    const slow = await fakeNode({ loading: backbone.promise })
    expect((await fetch(`${slow.url}/health`)).status).toBe(200)
    expect(await refusal(await fetch(`${slow.url}/ready`))).toMatchObject({
      status: 503,
      code: 'node_unavailable',
    })
    expect(await refusal(await slow.generate())).toMatchObject({ status: 503, code: 'node_unavailable' })
    expect(await refusal(await slow.info())).toMatchObject({ status: 503, code: 'node_unavailable' })
    backbone.resolve()
    await slow.ready
    expect((await fetch(`${slow.url}/ready`)).status).toBe(200)
    expect((await readEvents(await slow.generate())).at(-1)).toMatchObject({ type: 'done' })
    await slow.close()
  })

  it('that drains finishes what runs, refuses the rest and then closes', async () => {
    const leaving = await fakeNode()
    leaving.backend.beforeCall = () => delay(5)
    const running = await leaving.generate({ maxTokens: 30 })
    const closed = leaving.close()
    expect(await refusal(await leaving.generate())).toMatchObject({ status: 503, code: 'draining' })
    expect(await refusal(await fetch(`${leaving.url}/ready`))).toMatchObject({
      status: 503,
      code: 'draining',
    })
    expect(NodeInfo.parse(await (await leaving.info()).json()).draining).toBe(true)
    expect((await readEvents(running)).at(-1)).toMatchObject({ type: 'done' })
    await closed
    expect(leaving.backend.closed).toBe(true)
    await expect(fetch(`${leaving.url}/health`)).rejects.toThrow()
  })

  it('that has drained long enough ends what still runs with an error', async () => {
    const leaving = await fakeNode({ settings: { drainSeconds: 0 } })
    leaving.backend.beforeCall = () => delay(5)
    const running = await leaving.generate({ maxTokens: 3000 })
    await leaving.close()
    expect((await readEvents(running)).at(-1)).toMatchObject({ type: 'error', code: 'draining' })
  })

  it('counts outcomes, tokens and steps', async () => {
    const fresh = await fakeNode()
    await readEvents(await fresh.generate({ maxTokens: 5 }))
    await fresh.generate({ prompt: [99] })
    expect(await fresh.metric('quartet_node_requests_total{outcome="length"}')).toBe(1)
    expect(await fresh.metric('quartet_node_requests_total{outcome="invalid_request"}')).toBe(1)
    expect(await fresh.metric('quartet_node_prefill_tokens_total')).toBe(3)
    expect(await fresh.metric('quartet_node_decode_tokens_total')).toBe(4)
    expect(await fresh.metric('quartet_node_time_to_first_token_seconds_count')).toBe(1)
    await fresh.close()
  })

  it('counts neither probes, nor adapters and addresses that it refuses, among the requests', async () => {
    const fresh = await fakeNode()
    fresh.backend.beforeCall = () => delay(5)
    await fetch(`${fresh.url}/nowhere`)
    await fetch(`${fresh.url}/v1/generate`)
    await fetch(`${fresh.url}/v1/adapters/none`, { method: 'PUT' })
    const running = await fresh.generate({ maxTokens: 20 })
    const closed = fresh.close()
    expect((await fetch(`${fresh.url}/ready`)).status).toBe(503)
    expect((await fresh.generate()).status).toBe(503)
    const counted = (await (await fetch(`${fresh.url}/metrics`)).text()).matchAll(
      /^quartet_node_requests_total\{outcome="(\w+)"\} (\d+)$/gm,
    )
    expect([...counted].map(([, outcome, count]) => [outcome, count])).toEqual([['draining', '1']])
    await readEvents(running)
    await closed
  })

  it('logs request ids and outcomes, and never tokens, tenants or secrets', async () => {
    const prompt = [41, 42, 43]
    const request = generateRequest({ prompt })
    await readEvents(await node.generate({ ...request }))
    const text = node.logged.join('\n')
    expect(text).toContain(request.requestId)
    expect(text).not.toContain(prompt.join(','))
    expect(text).not.toContain(tenant)
    expect(text).not.toContain('the secret')
    expect(text).not.toContain('eyJ')
  })

  it('on a port in use fails with one clear line', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => taken.once('listening', resolve))
    const address = taken.address()
    const port = typeof address === 'object' && address ? address.port : 0
    await expect(listen(() => new Response(), { host: '127.0.0.1', port })).rejects.toThrow(
      `port ${port} on 127.0.0.1 is in use; stop what listens there or choose another with --port or QUARTET_NODE_PORT`,
    )
    taken.close()
  })
})
