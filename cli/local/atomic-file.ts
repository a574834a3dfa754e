import { open, rename, rm } from 'node:fs/promises'

/** Replaces `path` as a whole or not at all, even when the disk is full. */
export async function writeFileAtomically(
  path: string,
  { data, mode }: { data: string | Uint8Array; mode: number },
): Promise<void> {
  const partial = `${path}.${process.pid}.partial`
  try {
    const file = await open(partial, 'w', mode)
    try {
      await file.writeFile(data)
      await file.chmod(mode)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(partial, path)
  } catch (error) {
    await rm(partial, { force: true })
    throw error
  }
}
