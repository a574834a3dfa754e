import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { CliFailure } from '../command/failure.ts'
import { writeFileAtomically } from './atomic-file.ts'

/** The file's content, or undefined when there is no such file. */
export async function readJsonFile<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : 'it is not JSON'
    throw new CliFailure(`${path} cannot be read: ${reason}`, {
      remedy: 'move it away and it is made anew',
      cause,
    })
  }
}

/** Writes for the owner's eyes only: these files hold secrets. */
export async function writeJsonFile(path: string, value: unknown): Promise<void> {
  await writeFileAtomically(path, { data: `${JSON.stringify(value, null, 2)}\n`, mode: 0o600 })
}
