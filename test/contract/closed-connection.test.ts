import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, it } from 'vitest'
import { throughClosedConnections } from '../../shared/closed-connection.ts'

let server: Server | undefined
afterEach(() => server?.close().closeAllConnections())

/** A server that closes each connection as soon as its second request arrives on it, as one does whose idle time is over. */
async function hasty(): Promise<{ url: string; cuts: () => number }> {
  const seen = new WeakSet<object>()
  let cuts = 0
  server = createServer((request, response) => {
    if (seen.has(request.socket)) {
      cuts += 1
      return void request.socket.destroy()
    }
    seen.add(request.socket)
    response.end('fine')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`,
    cuts: () => cuts,
  }
}

it('a call over an idle connection that the other side closes is made again at once', async () => {
  const { cuts, url } = await hasty()
  const call = async () => {
    // Until the connection of the call before is idle.
    await delay(20)
    return (await fetch(url, { method: 'POST', body: 'x' })).text()
  }
  expect(await call()).toBe('fine')
  await expect(call()).rejects.toThrow('fetch failed')
  for (let i = 0; i < 5; i++) expect(await throughClosedConnections(call)).toBe('fine')
  expect(cuts()).toBeGreaterThan(2)
})

it('other failures are passed on: an abort, a refusal, what breaks after a while', async () => {
  let calls = 0
  const failing = (error: Error) => async () => {
    calls += 1
    throw error
  }
  const aborted = new DOMException('other side closed', 'AbortError')
  await expect(throughClosedConnections(failing(aborted))).rejects.toBe(aborted)
  const refused = Object.assign(new TypeError('fetch failed'), { cause: new Error('connect ECONNREFUSED') })
  await expect(throughClosedConnections(failing(refused))).rejects.toBe(refused)
  expect(calls).toBe(2)
})

it('a server that closes every connection is not asked for ever', async () => {
  let calls = 0
  const closed = new TypeError('fetch failed', { cause: new Error('other side closed') })
  const call = async () => {
    calls += 1
    throw closed
  }
  await expect(throughClosedConnections(call)).rejects.toBe(closed)
  expect(calls).toBe(3)
})
