import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished, vi } from 'vitest'
import { z } from 'zod'
import { homeAt } from '../cli/local/home.ts'
import { openCache } from '../model/backbone/cache.ts'
import { isRunning } from '../test/e2e/processes.ts'
import { benchSlug } from './backend.ts'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))

/** A folder that may be named by --checkout, with this program, and a machine's cache and temporary folder for the benchmark. */
async function world(program: string) {
  const root = await mkdtemp(join(tmpdir(), 'quartet-checkout-'))
  onTestFinished(() => rm(root, { recursive: true }))
  const [checkout, temporary, cache] = ['checkout', 'tmp', 'cache'].map((name) => join(root, name))
  if (checkout === undefined || temporary === undefined || cache === undefined) throw new Error('no folders')
  for (const folder of [join(checkout, 'cli'), join(checkout, 'node_modules'), temporary])
    await mkdir(folder, { recursive: true })
  await writeFile(join(checkout, 'package.json'), '{ "name": "quartet", "type": "module" }')
  await writeFile(join(checkout, 'cli', 'main.ts'), program)
  const source = openCache({ QUARTET_CACHE: cache }).source(benchSlug)
  const keepSource = async () => {
    await mkdir(source, { recursive: true })
    await writeFile(join(source, 'model.gguf'), 'weights')
  }
  const bench = () => {
    const child = spawn(process.execPath, [main, 'before', '--checkout', checkout], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, TMPDIR: temporary, QUARTET_CACHE: cache },
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const ended = once(child, 'close').then(([code]: unknown[]) => ({ code, said }))
    return { child, ended }
  }
  return { bench, checkout, keepSource, leftovers: () => readdir(temporary), source }
}

it('a checkout whose start fails is named with its last words, and nothing of it is left', async () => {
  const { bench, checkout, keepSource, leftovers } = await world(
    `console.error('starting'); console.error('quartet: port 1 is in use'); process.exitCode = 1`,
  )
  await keepSource()
  expect(await bench().ended).toEqual({
    code: 1,
    said: `starting ${checkout}\n  starting\n  quartet: port 1 is in use\nbench: ${checkout}: its quartet start exited with code 1; run npm ci in it, then node cli/main.ts start to see it by hand\n`,
  })
  expect(await leftovers()).toEqual([])
})

it('a machine without the model’s files is told how to get them, so that no start downloads them', async () => {
  const { bench, checkout, leftovers, source } = await world('')
  expect(await bench().ended).toEqual({
    code: 1,
    said: `starting ${checkout}\nbench: the files that ${benchSlug} is made of are not on this machine: ${source}; get them with quartet backbone pull ${benchSlug}\n`,
  })
  expect(await leftovers()).toEqual([])
})

/** A start that is ready, of a commit whose manifest has keys that this one does not know, and whose edge does not answer. */
const ready = `
import { mkdirSync, writeFileSync } from 'node:fs'
const { QUARTET_CACHE, QUARTET_HOME } = process.env
process.on('SIGTERM', () => process.exit())
const write = (path, value) => {
  mkdirSync(path.slice(0, path.lastIndexOf('/')), { recursive: true })
  writeFileSync(path, JSON.stringify(value))
}
const manifest = { slug: '${benchSlug}', digest: '${'a'.repeat(64)}', config: { d: 4, layers: 1, vocab: 8, other: 1 }, other: 1 }
write(QUARTET_CACHE + '/backbones/${benchSlug}-q8/manifest.json', manifest)
write(QUARTET_HOME + '/${basename(homeAt('home').secrets)}', { adminKey: 'key', other: 1 })
write(QUARTET_HOME + '/${basename(homeAt('home').localState)}', {})
setInterval(() => {}, 1000)
`

it('a checkout whose edge does not take the adapters is named with what failed, and nothing of it is left', async () => {
  const { bench, checkout, keepSource, leftovers } = await world(ready)
  await keepSource()
  const { code, said } = await bench().ended
  expect(code).toBe(1)
  expect(said).toContain(`bench: ${checkout} failed at taking a tenant and its adapters: `)
  expect(said).toContain('if its API is too old for this benchmark, compare with a later commit')
  expect(await leftovers()).toEqual([])
})

/** A start that is never ready and ends when it was told so often. Its folder says how it was started and that it was told. */
const waiting = ({ words }: { words: number }) => `
import { readdirSync, writeFileSync } from 'node:fs'
let told = 0
process.on('SIGTERM', () => {
  if (++told === ${words}) process.exit()
  writeFileSync('told', '')
})
setInterval(() => {}, 1000)
const { QUARTET_CACHE, QUARTET_HOME, QUARTET_WEIGHTS: weights } = process.env
const source = readdirSync(QUARTET_CACHE + '/sources/${benchSlug}')
writeFileSync('running', JSON.stringify({ pid: process.pid, home: QUARTET_HOME, weights, source }))
`

const Running = z.object({
  pid: z.int(),
  home: z.string(),
  weights: z.string(),
  source: z.array(z.string()),
})

const runningIn = (checkout: string) =>
  vi.waitFor(
    async () => Running.parse(JSON.parse(await readFile(join(checkout, 'running'), 'utf8'))),
    patience,
  )
const patience = { timeout: 60_000, interval: 50 }

it('Ctrl-C ends the started checkout, and nothing of it is left', async () => {
  const { bench, checkout, keepSource, leftovers } = await world(waiting({ words: 1 }))
  await keepSource()
  const { child, ended } = bench()
  const { home, pid, source, weights } = await runningIn(checkout)
  expect({ source, weights }).toEqual({ source: ['model.gguf'], weights: 'q8' })
  expect(home.split('/').slice(0, -2).join('/')).toBe(join(checkout, '..', 'tmp'))
  child.kill('SIGINT')
  expect(await ended).toEqual({
    code: 1,
    said: `starting ${checkout}\nbench: stopped; run the same command again\n`,
  })
  expect(await isRunning(pid)).toBe(false)
  expect(await leftovers()).toEqual([])
})

it('a second Ctrl-C has a start that takes its time end at once', async () => {
  const { bench, checkout, keepSource, leftovers } = await world(waiting({ words: 2 }))
  await keepSource()
  const { child, ended } = bench()
  const { pid } = await runningIn(checkout)
  child.kill('SIGINT')
  await vi.waitFor(() => access(join(checkout, 'told')), patience)
  child.kill('SIGINT')
  expect((await ended).code).toBe(1)
  expect(await isRunning(pid)).toBe(false)
  expect(await leftovers()).toEqual([])
})
