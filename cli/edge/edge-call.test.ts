import { createServer } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { send } from './edge-call.ts'

/** An edge that breaks the first connection as soon as it has the head of a request. */
async function breakingOnce() {
  let asked = 0
  const server = createServer((request, response) => {
    asked += 1
    if (asked === 1) request.socket.destroy()
    else request.resume().on('end', () => response.end('{"is":"well"}'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  return {
    access: { edge: `http://127.0.0.1:${address.port}`, base: '/admin/v1', key: 'k' },
    count: () => asked,
  }
}

const answer = z.object({ is: z.string() })

test('a call that may be repeated outlives a connection that was closed meanwhile', async () => {
  const { access, count } = await breakingOnce()
  expect(await send(access, { method: 'PUT', path: 'backbones/a', json: {}, answer })).toEqual({ is: 'well' })
  expect(count()).toBe(2)
})

test('a call that may not be repeated is made once', async () => {
  const { access, count } = await breakingOnce()
  await expect(send(access, { method: 'POST', path: 'tenants', json: {}, answer })).rejects.toThrow(
    /cannot be reached/,
  )
  expect(count()).toBe(1)
})
