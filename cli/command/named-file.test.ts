import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readAnswerForm } from '../answer-form.ts'
import { readChoices } from '../evaluation/choices.ts'
import { exportCommand } from '../export.ts'
import { inspectCommand } from '../inspect.ts'
import { describeFailure } from './failure.ts'
import { readNamedFile, readNamedText } from './named-file.ts'

let folder: string
const path = (name: string) => join(folder, name)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-named-'))
  await writeFile(path('latin1.txt'), Buffer.from('caf\u00e9', 'latin1'))
  await writeFile(path('mark.txt'), '\ufeffcafé\n')
  await writeFile(path('mark-labels.txt'), '\ufeffyes\r\nno\r\n')
  await writeFile(path('latin1-labels.txt'), Buffer.from('oui\nd\u00e9\n', 'latin1'))
  await writeFile(path('mark.json'), '\ufeff{"type": "object", "properties": {}}')
})
afterAll(() => rm(folder, { recursive: true }))

const says = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'it was not refused',
    (error: unknown) => describeFailure(error),
  )

describe('a file that the command line names', () => {
  it('is read without the mark in front of UTF-8', async () => {
    expect(await readNamedText(path('mark.txt'))).toBe('café\n')
    expect(await readChoices(path('mark-labels.txt'))).toEqual(['yes', 'no'])
    expect(await readAnswerForm(path('mark.json'), { name: 'a' })).toMatchObject({ type: 'json_schema' })
  })

  it('that is no UTF-8 is refused by name', async () => {
    const remedy = 'is not UTF-8 text; save the file as UTF-8'
    expect(await says(readNamedText(path('latin1.txt')))).toBe(`${path('latin1.txt')} ${remedy}`)
    expect(await says(readChoices(path('latin1-labels.txt')))).toBe(`${path('latin1-labels.txt')} ${remedy}`)
    expect(await says(readAnswerForm(path('latin1.txt'), { name: 'a' }))).toBe(
      `${path('latin1.txt')} ${remedy}`,
    )
  })

  it('that is a folder is named, whichever command reads it', async () => {
    const folderOf = `${folder} is a folder; name a file in it`
    expect(await says(readNamedFile(folder))).toBe(folderOf)
    expect(await says(readChoices(folder))).toBe(folderOf)
    expect(await says(readAnswerForm(folder, { name: 'a' }))).toBe(folderOf)
    expect(await says(inspectCommand().parseAsync([folder], { from: 'user' }))).toBe(folderOf)
    const exporting = exportCommand().parseAsync([folder, '--out', path('out')], { from: 'user' })
    expect(await says(exporting)).toBe(folderOf)
  })
})
