import { access, constants, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { CliFailure, isSystemError } from './failure.ts'

/** A file that a command will write, and the option that names it. */
export interface OutputFile {
  readonly option: string
  readonly path: string
}

const folderProblems: Readonly<Record<string, string>> = {
  ENOENT: 'is not there; make it',
  ENOTDIR: 'is no folder; name one',
  EACCES: 'cannot be written to; change its mode',
  EROFS: 'is on a read-only file system; mount it for writing',
}

/** Makes sure before any work that its result can be written. */
export async function assertWritable({ option, path }: OutputFile): Promise<void> {
  if (path === '') throw new CliFailure(`${option} is empty`, { remedy: 'name a file' })
  const folder = dirname(resolve(path))
  const there = await stat(path).catch(() => undefined)
  if (there?.isDirectory())
    throw new CliFailure(`${option} ${path} is a folder`, { remedy: 'name a file in it' })
  if (there !== undefined && !there.isFile()) return await access(path, constants.W_OK)
  await access(folder, constants.W_OK).catch((cause: unknown) => {
    const problem = isSystemError(cause) ? folderProblems[cause.code] : undefined
    if (problem === undefined) throw cause
    throw new CliFailure(`the folder ${folder} ${problem}, or choose another ${option}`)
  })
}

/** Makes sure that no file is lost. A pipe or a device loses nothing. */
export async function assertAbsent({ option, path }: OutputFile): Promise<void> {
  const there = await stat(path).catch(() => undefined)
  if (there?.isFile())
    throw new CliFailure(`${path} is there already`, {
      remedy: `choose another ${option}, or replace it with --force`,
    })
}

/** Throws where a file that a command reads would be written over. */
export function assertNotRead({ option, path }: OutputFile, read: readonly (string | undefined)[]): void {
  if (read.some((other) => other !== undefined && resolve(other) === resolve(path)))
    throw new CliFailure(`${option} ${path} would write over a file that this command reads or writes`, {
      remedy: 'name another file',
    })
}
