import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { tinyAdapter } from '../test/fakes/tiny-adapter.ts'
import { exportCommand } from './export.ts'
import { inspectCommand } from './inspect.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-export-'))
  await writeFile(join(folder, 'done.safetensors'), tinyAdapter({ seed: 1 }))
  await writeFile(join(folder, 'cut.checkpoint'), tinyAdapter({ seed: 1 }).subarray(0, -4))
})
afterAll(() => rm(folder, { recursive: true }))

test.each([
  ['done.safetensors', 'is an adapter already', 'publish it as it is'],
  ['cut.checkpoint', 'is no whole checkpoint of a training', expect.stringContaining('name the .checkpoint')],
])('export refuses %s by name, and advises nobody to remove it', async (name, message, remedy) => {
  const path = join(folder, name)
  const exporting = exportCommand().parseAsync([path, '--out', join(folder, 'out')], { from: 'user' })
  await expect(exporting).rejects.toMatchObject({ message: `${path} ${message}`, remedy })
  expect(await readdir(folder)).not.toContain('out')
})

test('inspect names the file that is no adapter', async () => {
  const path = join(folder, 'cut.checkpoint')
  await expect(inspectCommand().parseAsync([path], { from: 'user' })).rejects.toThrow(
    `${path}: not a valid safetensors file`,
  )
})
