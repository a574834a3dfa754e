import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))
const edge = createServer((_, response) => response.end('{"registryUpMs":1,"nodes":[]}'))

beforeAll(async () => {
  await once(edge.listen(0, '127.0.0.1'), 'listening')
})
afterAll(() => {
  edge.close()
})

it.each([[['top']], [['top', '--json']]])('%j ends quietly when its reader leaves', async (words) => {
  const { port } = edge.address() as AddressInfo
  const env = {
    ...process.env,
    QUARTET_EDGE_URL: `http://127.0.0.1:${port}`,
    QUARTET_ADMIN_KEY: 'a'.repeat(32),
  }
  const child = spawn(process.execPath, [main, ...words], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  // Long before it writes.
  child.stdout.destroy()
  const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')])
  expect({ said, code }).toEqual({ said: '', code: 0 })
})
