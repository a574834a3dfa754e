import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { host } from './process-identity.ts'
import { withLock } from './process-lock.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-lock-'))
})
afterEach(() => rm(folder, { recursive: true }))

test('one holder at a time; those who wait are told once', async () => {
  const path = join(folder, 'a.lock')
  let inside = 0
  let waits = 0
  const work = () =>
    withLock(path, { onWait: () => waits++ }, async () => {
      expect(++inside).toBe(1)
      await sleep(50)
      inside--
    })
  await Promise.all([work(), work(), work()])
  expect(waits).toBe(2)
})

test('a lock is free again when its work fails', async () => {
  const path = join(folder, 'a.lock')
  await expect(withLock(path, {}, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await withLock(path, {}, async () => 'yes')).toBe('yes')
})

test('a lock that nobody renews is taken over', async () => {
  const path = join(folder, 'a.lock')
  await writeFile(path, '')
  const long = new Date(Date.now() - 60_000)
  await utimes(path, long, long)
  expect(await withLock(path, {}, async () => 'mine')).toBe('mine')
})

test('the lock of a process that is gone from this machine is free at once', async () => {
  const path = join(folder, 'a.lock')
  await writeFile(path, `${host} 999999999`)
  expect(await withLock(path, {}, async () => 'mine')).toBe('mine')
})

test('waiting ends when it is no longer wanted', async () => {
  const path = join(folder, 'a.lock')
  await writeFile(path, '')
  const signal = AbortSignal.timeout(50)
  await expect(withLock(path, { signal }, async () => 'mine')).rejects.toThrow(/abort/i)
})
