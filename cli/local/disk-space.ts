import { statfs } from 'node:fs/promises'
import { CliFailure } from '../command/failure.ts'

/** The bytes that a stack writes on its first start, logs and a spare included. */
const stackBytes = 64 * 1024 * 1024

/** Throws when a folder's disk is too full for a stack to run on. */
export async function assertDiskSpace(folder: string, neededBytes = stackBytes): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  const free = bavail * bsize
  if (free < neededBytes)
    throw new CliFailure(
      `the disk of ${folder} is full: ${megabytes(free)} MB are free and ${megabytes(neededBytes)} MB are needed`,
      { remedy: 'free some space, or move the state elsewhere with --home or QUARTET_HOME' },
    )
}

const megabytes = (bytes: number) => Math.floor(bytes / 2 ** 20)
