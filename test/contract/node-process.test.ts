import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { serializeAdapterFile } from '../../shared/adapter-file.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { AdapterDigest } from '../../shared/ids.ts'
import { adapterVariants } from '../parity/generation.ts'
import { randomAdapter } from '../parity/random-adapter.ts'
import { type TinyBackbone, tinyBackbone } from '../parity/tiny-backbone.ts'
import { nodeClient, nodeId, readEvents, refusal, secret, tokenIds, until } from './node-client.ts'

const entry = fileURLToPath(new URL('../../gpu-node/main.ts', import.meta.url))

let backbone: TinyBackbone
const { QUARTET_NODE_SECRET: _, ...ownEnv } = process.env
const running = new Set<ChildProcess>()

beforeAll(async () => {
  backbone = await tinyBackbone()
})
afterEach(() => {
  for (const child of running) child.kill('SIGKILL')
  running.clear()
})
afterAll(() => rm(dirname(backbone.folder), { recursive: true }))

function startProcess(args: string[], env: Record<string, string> = { QUARTET_NODE_SECRET: secret }) {
  const child = spawn(process.execPath, [entry, '--port', '0', '--id', nodeId, ...args], {
    env: { ...ownEnv, ...env },
  })
  running.add(child)
  const lines: string[] = []
  const errors: string[] = []
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
  createInterface({ input: child.stderr }).on('line', (line) => errors.push(line))
  const logged = (event: string) => lines.map((line) => JSON.parse(line)).find((line) => line.event === event)
  return { child, errors, lines, logged, exited: once(child, 'exit').then(([code]) => code) }
}

async function readyProcess(...args: string[]) {
  const started = startProcess(['--backbone', backbone.folder, ...args])
  await until(() => started.logged('ready') !== undefined || started.errors.length > 0)
  expect(started.errors).toEqual([])
  return { ...started, ...nodeClient(started.logged('listening').url) }
}

describe('the node as a process', () => {
  it('tells by which weights it reads prompts', async () => {
    const { child, exited, logged } = await readyProcess('--prefill-weights', 'f32')
    expect(logged('ready')).toMatchObject({ prefillWeights: 'f32' })
    child.kill('SIGTERM')
    await exited
  })

  it('loads a backbone and gives the same tokens alone and in a batch', async () => {
    const { child, exited, generate } = await readyProcess()
    const ask = async (first: number) =>
      tokenIds(
        await readEvents(
          await generate({ backbone: backbone.manifest.digest, prompt: [first, 7, 9], maxTokens: 12 }),
        ),
      )
    const alone = [await ask(1), await ask(2), await ask(3)]
    expect(new Set(alone.map(String)).size).toBe(3)
    expect(await Promise.all([ask(1), ask(2), ask(3)])).toEqual(alone)
    child.kill('SIGTERM')
    expect(await exited).toBe(0)
  })

  it('gives requests of all kinds of adapters at once the tokens that each gets alone', async () => {
    const { generate, metric, putAdapter } = await readyProcess()
    const prompt = Array.from({ length: 20 }, (_, i) => 3 + ((i * 31) % 250))
    const asks: (() => Promise<number[]>)[] = []
    for (const [seed, variant] of adapterVariants.entries()) {
      const file = variant && serializeAdapterFile(randomAdapter(backbone.manifest, { seed, ...variant }))
      const adapter = file ? AdapterDigest.parse(await sha256Hex(file)) : null
      if (file !== undefined) expect((await putAdapter(file)).ok).toBe(true)
      const request = { backbone: backbone.manifest.digest, adapter, prompt, maxTokens: 64 }
      asks.push(async () => tokenIds(await readEvents(await generate(request))))
    }
    const alone: number[][] = []
    for (const ask of asks) alone.push(await ask())
    expect(new Set(alone.map(String)).size).toBe(adapterVariants.length)
    expect(await Promise.all(asks.map((ask) => ask()))).toEqual(alone)
    // Some steps decoded more than four of them together.
    const steps = (of: string) => metric(`quartet_node_decode_batch_size_${of}`)
    expect(await steps('count')).toBeGreaterThan(await steps('bucket{le="4"}'))
  })

  it('drains on SIGTERM: what runs is finished, what comes is refused, and it exits with 0', async () => {
    const { child, exited, generate, logged } = await readyProcess()
    const request = { backbone: backbone.manifest.digest, prompt: [1, 2, 3], maxTokens: 900 }
    const stream = await generate(request)
    child.kill('SIGTERM')
    await until(() => logged('draining') !== undefined)
    expect(await refusal(await generate(request))).toMatchObject({ status: 503, code: 'draining' })
    const events = await readEvents(stream)
    expect(events.at(-1)).toMatchObject({ type: 'done', usage: { completionTokens: 900 } })
    expect(await exited).toBe(0)
  })

  it('exits with 0 on SIGTERM from the moment it listens, while its backbone is still being loaded', async () => {
    const { child, exited, logged } = startProcess(['--backbone', backbone.folder])
    await until(() => logged('listening') !== undefined)
    child.kill('SIGTERM')
    expect(await exited).toBe(0)
  })

  it('does not outlive its patience, and a second signal ends it at once', async () => {
    const request = { backbone: backbone.manifest.digest, prompt: [1, 2, 3], maxTokens: 1000 }
    const impatient = await readyProcess('--drain-seconds', '0')
    const stream = await impatient.generate(request)
    impatient.child.kill('SIGTERM')
    expect((await readEvents(stream)).at(-1)).toMatchObject({ type: 'error', code: 'draining' })
    expect(await impatient.exited).toBe(0)

    const patient = await readyProcess()
    await patient.generate(request)
    patient.child.kill('SIGTERM')
    await until(() => patient.logged('draining') !== undefined)
    patient.child.kill('SIGTERM')
    expect(await patient.exited).toBe(1)
  })

  it.each([
    ['a secret that is missing', [], {}, /QUARTET_NODE_SECRET is required: .*openssl rand/],
    [
      'a wrong setting',
      ['--max-batch', '0'],
      undefined,
      /--max-batch or QUARTET_MAX_BATCH must be at least 1/,
    ],
    [
      'a backbone that is not there',
      ['--backbone', 'no-such-one'],
      undefined,
      /quartet backbone pull no-such-one/,
    ],
    ['a folder without a backbone', ['--backbone', '/tmp'], undefined, /there is no backbone in \/tmp/],
  ])('ends with one clear line for %s', async (_what, args, env, expected) => {
    const { errors, exited } = startProcess(args, env)
    expect(await exited).toBe(1)
    expect(errors).toEqual([expect.stringMatching(expected)])
  })

  it.each(['f16', 'int8'])(
    'without CUDA says so before it makes anything for it: a cache in %s',
    async (type) => {
      const before = await readdir(backbone.folder)
      // Also where the machine has CUDA: its cache lacks what `quartet node setup cuda` brings.
      const env = { QUARTET_CACHE: join(backbone.folder, 'none'), QUARTET_NODE_SECRET: secret }
      const args = ['--backbone', backbone.folder, '--device', 'cuda', '--cache-type', type]
      const { errors, exited } = startProcess(args, env)
      expect(await exited).toBe(1)
      expect(errors).toEqual([expect.stringMatching(/nodes? (cannot )?use (--device cuda|CUDA).*--device/)])
      expect(await readdir(backbone.folder)).toEqual(before)
    },
  )

  it('ends with one clear line for a port in use', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const address = taken.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const { errors, exited } = startProcess(['--backbone', backbone.folder, '--port', String(port)])
    expect(await exited).toBe(1)
    expect(errors).toEqual([expect.stringContaining(`port ${port} on 127.0.0.1 is in use`)])
    taken.close()
  })
})
