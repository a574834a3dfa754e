import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { isDeviceLoss } from '../../model/runtime/device-loss.ts'
import { QuartetError } from '../../shared/errors.ts'
import { FakeBackend } from '../fakes/fake-backend.ts'
import { fakeNode, nodeClient, nodeId, readEvents, refusal, secret } from './node-client.ts'

const LogLine = z.object({ event: z.string(), url: z.string().optional() })

/** As ONNX Runtime words it, behind the session's own words. */
const loss = (message: string) =>
  new QuartetError(
    'node_error',
    'the model failed to run: Non-zero status code returned while running Gemm node',
    {
      cause: new Error(message),
    },
  )
const illegalAccess = 'CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=gpu-7'

test('a device that is lost ends the requests it runs, and refuses others, which go to another node', async () => {
  const backend = new FakeBackend()
  const node = await fakeNode({ backend })
  const running = await node.generate({ maxTokens: 200 })
  let isLost = false
  void node.lost.then(() => {
    isLost = true
  })
  backend.beforeCall = () => {
    throw new QuartetError('node_error', 'the model failed to run: CUDA failure 2: out of memory')
  }
  expect((await readEvents(running)).at(-1)).toMatchObject({ type: 'error', code: 'node_error' })
  // Memory may be there for the next request.
  expect(isLost).toBe(false)
  backend.beforeCall = () => {}
  const second = await node.generate({ maxTokens: 200 })
  backend.beforeCall = () => {
    throw loss(illegalAccess)
  }
  expect((await readEvents(second)).at(-1)).toMatchObject({ type: 'error', code: 'node_error' })
  await node.lost
  expect(await refusal(await node.generate({ maxTokens: 2 }))).toMatchObject({
    status: 503,
    code: 'draining',
  })
  expect((await fetch(`${node.url}/ready`)).status).toBe(503)
  expect(node.logged.join()).toContain('device_lost')
  await node.close()
})

test.for(['serves', 'drains'])(
  'a node whose device is lost while it %s ends with status 1, so that its supervisor starts it again',
  { timeout: 30_000 },
  async (when) => {
    const program = join(import.meta.dirname, '../fakes/lost-device-process.ts')
    const draining = when === 'drains' ? { LOST_WHILE_DRAINING: '1' } : {}
    const child = spawn(process.execPath, [program, '--port', '0', '--id', nodeId], {
      env: { ...process.env, ...draining, QUARTET_NODE_SECRET: secret },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const ended = once(child, 'exit')
    const errors: string[] = []
    child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text))
    let url: string | undefined
    for await (const line of createInterface({ input: child.stdout })) {
      const { event, ...fields } = LogLine.parse(JSON.parse(line))
      if (event === 'listening') url = fields.url
      if (event === 'ready') break
    }
    const response = await nodeClient(url ?? '').generate({ maxTokens: 5 })
    if (when === 'drains') child.kill('SIGTERM')
    expect((await readEvents(response)).at(-1)).toMatchObject({ type: 'error', code: 'node_error' })
    child.stdout.resume()
    expect((await ended)[0]).toBe(1)
    expect(errors.join('')).toContain('--device cpu was lost; start the node again')
  },
)

test('a lost device is told from a run that fails', () => {
  for (const message of [
    illegalAccess,
    'CUDA failure 719: unspecified launch failure ; GPU=0',
    'CUDA failure 214: uncorrectable ECC error encountered',
    'WebGPU device lost (2): the driver was reset',
    'WebGPU validation failed. [Device] is lost.\n - While calling [Device].CreateBuffer',
  ])
    expect(isDeviceLoss(loss(message)), message).toBe(true)
  for (const message of [
    'CUDA failure 2: out of memory ; GPU=0',
    'CUBLAS failure 14: CUBLAS_STATUS_INTERNAL_ERROR',
    'the model is closed; the node is shutting down',
  ])
    expect(isDeviceLoss(loss(message)), message).toBe(false)
  expect(isDeviceLoss('a string')).toBe(false)
})
