import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Home, homeAt, makeHome } from './home.ts'
import { startService } from './service.ts'

let home: Home

beforeEach(async () => {
  home = homeAt(await mkdtemp(join(tmpdir(), 'quartet-service-')))
  await makeHome(home)
})

afterEach(() => rm(home.folder, { recursive: true }))

/** A service that starts a child of its own and writes both process ids to a file. */
async function serviceModule({ ignoresSigterm }: { ignoresSigterm: boolean }): Promise<URL> {
  const path = join(home.folder, 'service.ts')
  await writeFile(
    path,
    `import { spawn } from 'node:child_process'
     import { renameSync, writeFileSync } from 'node:fs'
     const child = spawn('sleep', ['300'])
     ${ignoresSigterm ? "process.on('SIGTERM', () => {})" : ''}
     console.log('secret:', process.env.SECRET)
     writeFileSync('${home.folder}/pids.partial', JSON.stringify([process.pid, child.pid]))
     renameSync('${home.folder}/pids.partial', '${home.folder}/pids')
     setInterval(() => {}, 1000)`,
  )
  return pathToFileURL(path)
}

async function pids(): Promise<number[]> {
  for (;;) {
    const text = await readFile(join(home.folder, 'pids'), 'utf8').catch(() => undefined)
    if (text !== undefined) return JSON.parse(text)
    await delay(10)
  }
}

async function isRunning(pid: number): Promise<boolean> {
  const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  return state !== undefined && !/\) Z /.test(state)
}

const allGone = async (ids: readonly number[]) => {
  for (const pid of ids) await expect.poll(() => isRunning(pid), { timeout: 10_000 }).toBe(false)
}

it('a stopped service leaves no process, even one that ignores SIGTERM', async () => {
  const entry = await serviceModule({ ignoresSigterm: true })
  const service = await startService({ name: 'node', entry, home, env: {}, stopGraceMs: 200 })
  const started = await pids()
  await service.stop()
  await allGone(started)
})

it('a service that is killed says so, shows its log, and what it started can be stopped', async () => {
  const entry = await serviceModule({ ignoresSigterm: false })
  const env = { SECRET: 'by environment' }
  const service = await startService({ name: 'node', entry, home, env, stopGraceMs: 200 })
  const started = await pids()
  process.kill(started[0] ?? 0, 'SIGKILL')
  await expect(service.failed).rejects.toMatchObject({
    message: 'the node process was ended by SIGKILL',
    log: ['secret: by environment'],
  })
  await service.stop()
  await allGone(started)
})

it('services end when their parent is killed', async () => {
  const entry = await serviceModule({ ignoresSigterm: false })
  const script = `
    import { startService } from ${JSON.stringify(new URL('./service.ts', import.meta.url))}
    import { homeAt } from ${JSON.stringify(new URL('./home.ts', import.meta.url))}
    await startService({ name: 'node', entry: new URL(${JSON.stringify(entry)}), env: {},
      home: homeAt(${JSON.stringify(home.folder)}), stopGraceMs: 200 })`
  const parent = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: 'inherit' })
  const started = await pids()
  expect(await isRunning(started[0] ?? 0)).toBe(true)
  parent.kill('SIGKILL')
  await once(parent, 'exit')
  await allGone(started)
})
