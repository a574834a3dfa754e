import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { importBackbone } from '../model/import/import.ts'
import { QuartetError } from '../shared/errors.ts'

/** Writes a model that cannot be taken to `path`, and says what to import when that is another path. */
export type Make = (path: string) => Promise<string | undefined>

export type BadModel = readonly [name: string, make: Make, says: RegExp]

/** The text of the refusal, behind the name of the folder that the model lies in. */
export async function importRefusal(make: Make): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'quartet-bad-files-'))
  try {
    const path = (await make(join(folder, 'model'))) ?? join(folder, 'model')
    const before = await readdir(folder)
    let refused: unknown
    try {
      await importBackbone({ path, slug: 'bad', weights: 'f32', destination: join(folder, 'made') })
    } catch (error) {
      refused = error
    }
    expect(await readdir(folder)).toEqual(before)
    if (!(refused instanceof QuartetError)) throw refused ?? new Error('it was imported')
    expect(refused.code).toBe('backbone_invalid')
    return refused.message.replaceAll(folder, '')
  } finally {
    await rm(folder, { recursive: true })
  }
}
