import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Ballast } from './ballast.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-ballast-'))
})
afterEach(() => rm(folder, { recursive: true }))

it('a full disk gets room from the reserve once, says so, and the reserve is made anew when there is room again', async () => {
  const megabyte = 2 ** 20
  let free = 200 * megabyte
  const told: string[] = []
  const ballast = new Ballast({ folder, tell: (message) => told.push(message), freeBytes: async () => free })
  const files = async () => {
    await ballast.look()
    return readdir(folder)
  }
  expect(await files()).toEqual(['ballast'])
  free = megabyte
  expect(await files()).toEqual([])
  free = 17 * megabyte
  expect(await files()).toEqual([])
  expect(told).toEqual([
    expect.stringMatching(/is full; a reserve of 16 MB keeps the stack going.*free some space/),
  ])
  free = 200 * megabyte
  expect(await files()).toEqual(['ballast'])
})
