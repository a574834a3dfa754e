import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readChoices } from './choices.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-choices-'))
})
afterAll(() => rm(folder, { recursive: true }))

test('labels stand in a list', async () => {
  expect(await readChoices(' billing, shipping ,returns')).toEqual(['billing', 'shipping', 'returns'])
})

test('labels stand in a file, one per line, commas and blank lines included', async () => {
  const path = join(folder, 'labels.txt')
  await writeFile(path, 'yes, gladly\n\nno\r\n')
  expect(await readChoices(path)).toEqual(['yes, gladly', 'no'])
})

test.each([
  ['billing', '--choices names one label'],
  [' , ', '--choices names no label'],
  ['a,b,a', '--choices names “a” twice'],
  ['labels/none.txt', '--choices: there is no file labels/none.txt'],
])('%s is refused: %s', async (given, reason) => {
  await expect(readChoices(given)).rejects.toThrow(reason)
})
