import { randomBytes } from 'node:crypto'
import { cp, mkdtemp, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { adminClient } from '../cli/edge/admin-client.ts'
import { type LocalWorker, startWorker } from '../cli/local/worker.ts'
import { BackboneDigest, BackboneSlug } from '../shared/ids.ts'
import { tinyChat, tinySpecials, tinyTokenizer } from '../test/fakes/tiny-tokenizer.ts'
import { report } from './report.ts'
import { compare, timed } from './statistics.ts'

const few = 10
const many = 10_000
/** More writes at once than four times this end the local runtime. */
const seedAtOnce = 50
const adapterBytes = 4_096
const rounds = 60
/** Tenants looked up per round. */
const sample = 9
const warmRepeats = 20
const port = 18_790

const backbone = {
  slug: BackboneSlug.parse('tiny'),
  digest: BackboneDigest.parse('ab'.repeat(32)),
  tokens: { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd] },
  chat: tinyChat,
  contextLength: 512,
  d: 4,
  layers: 1,
  vocab: 512,
}

interface World extends AsyncDisposable {
  readonly keys: readonly string[]
  /**
   * Milliseconds per look-up. The tenants are new to the isolate (`cold`), or it saw them in the last round (`warm`).
   */
  look(how: 'cold' | 'warm'): Promise<number>
  /** A new isolate's first request, whoever asks. */
  first(): Promise<number>
}

/** An edge with so many tenants, each with a key, an adapter and an alias, in storage of its own. */
async function makeWorld(count: number, at: number): Promise<World> {
  await using made = new AsyncDisposableStack()
  const folderIn = async (place: string) => {
    const folder = await mkdtemp(join(place, 'quartet-tenants-'))
    made.defer(() => rm(folder, { recursive: true, force: true }))
    return folder
  }
  const stateFolder = await folderIn(tmpdir())
  const quickFolder = await folderIn(await quickPlace())
  const adminKey = randomBytes(32).toString('hex')
  const start = (folder: string) =>
    startWorker({
      port: port + at,
      stateFolder: folder,
      entry: fileURLToPath(new URL('../test/edge/many-tenants.ts', import.meta.url)),
      vars: {
        QUARTET_NODE_SECRET: randomBytes(32).toString('hex'),
        QUARTET_ADMIN_KEY: adminKey,
        QUARTET_LOG_LEVEL: 'error',
      },
    })
  const keys: string[] = []
  {
    await using seeding = await start(quickFolder)
    await adminClient({ edge: seeding.url, adminKey }).putBackbone({ backbone, tokenizer: tinyTokenizer })
    for (let from = 0; from < count; from += seedAtOnce) {
      const size = Math.min(seedAtOnce, count - from)
      const body = { from, count: size, adapterBytes, backbone: backbone.slug }
      keys.push(...z.array(z.string()).parse(await call(seeding, 'seed', body)))
    }
  }
  await cp(quickFolder, stateFolder, { recursive: true })
  await rm(quickFolder, { recursive: true })
  const worker = made.use(await start(stateFolder))
  const all = made.move()
  let seen: readonly string[] = []
  return {
    keys,
    async look(how) {
      if (how === 'cold') seen = randomKeys(keys, sample + 1)
      const [opener = '', ...rest] = seen
      const asked = how === 'cold' ? rest : Array.from({ length: warmRepeats }, () => rest).flat()
      const ms = await call(worker, 'lookup', { cold: how === 'cold', keys: [opener, ...asked] })
      return z.number().parse(ms) / asked.length
    },
    first: () => timed(() => call(worker, 'lookup', { cold: true, keys: randomKeys(keys, 1) })),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

const memoryDisk = '/dev/shm'
const neededBytes = 1024 ** 3

/** Each write is flushed to the disk, which takes most of the time of making tenants; memory needs none. */
async function quickPlace(): Promise<string> {
  const room = await statfs(memoryDisk).catch(() => undefined)
  return room !== undefined && room.bavail * room.bsize > neededBytes ? memoryDisk : tmpdir()
}

function randomKeys(keys: readonly string[], count: number): string[] {
  const chosen = new Set<string>()
  while (chosen.size < Math.min(count, keys.length)) {
    const key = keys[Math.floor(Math.random() * keys.length)]
    if (key !== undefined) chosen.add(key)
  }
  return [...chosen]
}

async function call(worker: LocalWorker, name: 'seed' | 'lookup', body: object): Promise<unknown> {
  const response = await fetch(`${worker.url}/bench/${name}`, { method: 'POST', body: JSON.stringify(body) })
  if (!response.ok) throw new Error(await response.text())
  return response.json()
}

/** Whether finding a key's tenant and alias takes as long among 10,000 tenants as among 10. */
export async function benchTenants(): Promise<boolean> {
  await using small = await makeWorld(few, 0)
  await using large = await makeWorld(many, 1)
  const cold = await compare(rounds, { a: () => large.look('cold'), b: () => small.look('cold') })
  await Promise.all([large.look('cold'), small.look('cold')])
  const warm = await compare(rounds, { a: () => large.look('warm'), b: () => small.look('warm') })
  const first = await compare(10, { a: large.first, b: small.first })
  const flat = { kind: 'at most', value: 1.3 } as const
  return report(`tenants: key → tenant → alias, ${few} against ${many} tenants in local storage`, [
    { name: `unknown to the isolate, ${few} tenants`, value: cold.b, unit: 'ms' },
    { name: `unknown to the isolate, ${many} tenants`, value: cold.a, unit: 'ms' },
    { name: 'ratio, median of rounds', value: cold.ratio, unit: '×', bound: flat },
    { name: `known to the isolate, ${few} tenants`, value: warm.b, unit: 'ms' },
    { name: `known to the isolate, ${many} tenants`, value: warm.a, unit: 'ms' },
    { name: 'ratio, median of rounds', value: warm.ratio, unit: '×', bound: flat },
    { name: `a new isolate's first request, ${many} tenants just made`, value: first.a, unit: 'ms' },
    { name: `a new isolate's first request, ${few} tenants`, value: first.b, unit: 'ms' },
  ])
}
