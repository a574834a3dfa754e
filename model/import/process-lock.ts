import { mkdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { host, isRunning } from './process-identity.ts'

const beatMs = 2_000
const staleMs = 15_000
const pollMs = 250

interface LockOptions {
  /** Called once when another process holds the lock. */
  readonly onWait?: (() => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Runs `work` while no other process that takes the same lock runs its own. The lock is a file that names its holder
 * and whose time is renewed while the holder lives: a killed holder's lock is free at once on this machine and after
 * 15 s on another that shares the folder.
 */
export async function withLock<T>(
  path: string,
  { onWait, signal }: LockOptions,
  work: () => Promise<T>,
): Promise<T> {
  await mkdir(dirname(path), { recursive: true })
  let waited = false
  while (!(await take(path))) {
    if (await isStale(path)) {
      await rm(path, { force: true })
      continue
    }
    if (!waited) onWait?.()
    waited = true
    await sleep(pollMs, undefined, signal === undefined ? {} : { signal })
  }
  const beat = setInterval(() => {
    const now = new Date()
    utimes(path, now, now).catch(() => undefined)
  }, beatMs)
  try {
    return await work()
  } finally {
    clearInterval(beat)
    await rm(path, { force: true })
  }
}

async function take(path: string): Promise<boolean> {
  try {
    await writeFile(path, `${host} ${process.pid}`, { flag: 'wx' })
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    // The file may exist without its text. It would belong to nobody, and be in everybody's way for a while.
    await rm(path, { force: true })
    throw error
  }
}

async function isStale(path: string): Promise<boolean> {
  try {
    const [owner, pid] = (await readFile(path, 'utf8')).split(' ')
    if (owner === host && !isRunning(Number(pid))) return true
    return Date.now() - (await stat(path)).mtimeMs > staleMs
  } catch {
    return false
  }
}
