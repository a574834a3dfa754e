import { open, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { isSystemError } from '../command/failure.ts'

/**
 * Replaces `path` as a whole or not at all, even when the disk is full. A link stays, and the file behind it is replaced. A
 * terminal, a pipe or a device is written to: a file in its place would take it from all other programs.
 */
export async function writeFileAtomically(
  path: string,
  { data, mode }: { data: string | Uint8Array; mode: number },
): Promise<void> {
  const there = await stat(path).catch(() => undefined)
  if (there !== undefined && !there.isFile() && !there.isDirectory()) return await writeFile(path, data)
  const target = there === undefined ? path : await realpath(path)
  const partial = `${target}.${process.pid}.partial`
  try {
    const file = await open(partial, 'w', mode)
    try {
      await file.writeFile(data)
      await file.chmod(mode)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(partial, target)
  } catch (error) {
    await rm(partial, { force: true }).catch(() => undefined)
    throw isSystemError(error) ? ofTarget(error, path) : error
  }
}

/** The system's error with the name that the caller gave: nobody knows the partial file. */
function ofTarget(cause: Error & { readonly code: string }, path: string): Error {
  return Object.assign(new Error(cause.message, { cause }), { code: cause.code, path })
}
