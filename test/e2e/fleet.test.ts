import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AdminClient, adminClient } from '../../cli/edge/admin-client.ts'
import { homeAt } from '../../cli/local/home.ts'
import { readLocalSecrets } from '../../cli/local/secrets.ts'
import { commandOf, descendants, environmentOf } from './processes.ts'
import {
  freePorts,
  localState,
  quartetStart,
  type StartedProcess,
  stop,
  untilReady,
} from './quartet-start.ts'

/** `quartet start --nodes 3`: three real nodes, one of which is killed by hand while all are busy. */

const nodeCount = 3

let home: string
let started: StartedProcess
let firstPort: number
let client: OpenAI
let model: { readonly tuned: string; readonly untuned: string }
let admin: AdminClient

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'quartet-fleet-'))
  const { edge } = await freePorts()
  firstPort = await freeRow(nodeCount)
  const env = { QUARTET_LOCAL_NODES: String(nodeCount) }
  started = quartetStart({ home, ports: { edge, node: firstPort }, env })
  await untilReady(started)
  const state = await localState(home)
  const [tenant] = state.tenants
  const secrets = await readLocalSecrets(homeAt(home))
  if (tenant === undefined || secrets === undefined) throw new Error('the start left no tenant')
  client = new OpenAI({ baseURL: `${state.edge}/v1`, apiKey: tenant.key, maxRetries: 0 })
  model = { tuned: tenant.aliases[0] ?? state.backbone, untuned: state.backbone }
  admin = adminClient({ edge: state.edge, adminKey: secrets.adminKey })
})

afterAll(async () => {
  await stop(started)
  await rm(home, { recursive: true, force: true })
})

/** The first of several ports in a row that nothing listens on now. */
async function freeRow(count: number): Promise<number> {
  for (;;) {
    const { node } = await freePorts()
    const row = Array.from({ length: count }, (_, at) => node + at)
    if ((await Promise.all(row.map(isFree))).every(Boolean)) return node
  }
}

async function isFree(port: number): Promise<boolean> {
  if (port > 65_535) return false
  const server = createServer()
  const listening = once(server.listen(port, '127.0.0.1'), 'listening').then(
    () => true,
    () => false,
  )
  const free = await listening
  server.close()
  return free
}

async function processOf(nodeUrl: string): Promise<number> {
  const { port } = new URL(nodeUrl)
  for (const pid of await descendants(started.process.pid ?? 0))
    if (
      (await commandOf(pid)).includes('gpu-node/main.ts') &&
      (await environmentOf(pid)).includes(`QUARTET_NODE_PORT=${port}`)
    )
      return pid
  throw new Error(`no node listens on port ${port}`)
}

interface Ending {
  readonly pieces: number
  readonly error: unknown
}

/** Every other answer is a stream, every fourth a stream of two choices. */
async function ask(i: number): Promise<Ending> {
  let pieces = 0
  const request = {
    model: i % 3 === 0 ? model.tuned : model.untuned,
    messages: [{ role: 'user' as const, content: `Tell story number ${i}.` }],
    max_tokens: 40,
    ...{ ignore_eos: true },
  }
  try {
    if (i % 2 === 0) {
      const { choices } = await client.chat.completions.create(request)
      return { pieces: choices.length, error: undefined }
    }
    const n = i % 4 === 1 ? 1 : 2
    const stream = await client.chat.completions.create({ ...request, n, stream: true })
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) pieces += 1
    return { pieces, error: undefined }
  } catch (error) {
    return { pieces, error }
  }
}

const statesOf = async () =>
  Object.fromEntries((await admin.fleet()).nodes.map(({ id, state }) => [id, state]))

describe('a local fleet of three nodes', () => {
  it('is listed where it starts, and by the registry', async () => {
    const { stdout } = started.output()
    for (let at = 0; at < nodeCount; at++)
      expect(stdout).toContain(`node-${at + 1}  http://127.0.0.1:${firstPort + at}`)
    expect(await statesOf()).toEqual({ 'node-1': 'ready', 'node-2': 'ready', 'node-3': 'ready' })
  })

  it('loses no request that had not begun to stream when a busy node is killed', async () => {
    const answers: Promise<Ending>[] = []
    for (let i = 0; i < 36; i++) {
      answers.push(ask(i))
      await delay(40)
      if (i === 24) process.kill(await processOf(`http://127.0.0.1:${firstPort + 1}`), 'SIGKILL')
    }
    const endings = await Promise.all(answers)
    const broken = endings.filter(({ error }) => error !== undefined)
    for (const { error, pieces } of broken) {
      expect(error).toBeInstanceOf(OpenAI.APIError)
      expect(pieces, 'a request that had not begun to stream was lost').toBeGreaterThan(0)
    }
    expect(broken.length).toBeLessThan(endings.length / 2)
    expect(started.output().stderr).toMatch(/the node-2 process was ended by SIGKILL; .*; 2 of 3 nodes go on/)
  })

  it('knows the killed node as lost within seconds, and goes on without it', async () => {
    await expect.poll(statesOf, { timeout: 8_000 }).toEqual({
      'node-1': 'ready',
      'node-2': 'lost',
      'node-3': 'ready',
    })
    for (let i = 0; i < 6; i++) expect(await ask(i)).toMatchObject({ error: undefined })
  })

  it('takes the node back when it is started again', async () => {
    const node = restartNode()
    try {
      await expect.poll(async () => (await statesOf())['node-2'], { timeout: 20_000 }).toBe('ready')
      node.kill('SIGTERM')
      await expect.poll(async () => (await statesOf())['node-2'], { timeout: 20_000 }).toBe('left')
      expect(await ask(1)).toMatchObject({ error: undefined })
    } finally {
      node.kill('SIGKILL')
    }
  })
})

/** The command that the start printed when the node was killed, word for word but for `npx`. */
function restartNode() {
  const line = /^bring it back with: npx quartet (node start .*)$/m.exec(started.output().stderr)?.[1]
  if (line === undefined) throw new Error('the start did not say how to bring a node back')
  const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
  return spawn('sh', ['-c', `exec "${process.execPath}" "${main}" ${line} --drain-seconds 1`], {
    stdio: 'ignore',
  })
}
