import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { host, isRunning } from './process-identity.ts'

/** Makes a folder whole or not at all: work happens in a hidden sibling that takes the name when all of it is on disk. */
export interface Staging {
  /** Where to write; beside `destination`, on the same file system. */
  readonly folder: string
  /** Flushes every file and gives the folder its name. Throws `EEXIST` or `ENOTEMPTY` when the name is taken. */
  commit(): Promise<void>
  /** Flushes every file and moves it into the destination, in place of the one that has its name there. */
  commitFiles(): Promise<void>
  /** Removes the folder unless it has been committed. */
  discard(): Promise<void>
}

export async function stage(destination: string): Promise<Staging> {
  const target = resolve(destination)
  const parent = dirname(target)
  await mkdir(parent, { recursive: true })
  await removeLeftovers(parent)
  const folder = join(
    parent,
    `.${basename(target)}.partial.${host}.${process.pid}.${randomBytes(4).toString('hex')}`,
  )
  await mkdir(folder)
  return {
    folder,
    async commit() {
      await flushFiles(folder)
      await flush(folder)
      await rename(folder, target)
      await flush(parent)
    },
    async commitFiles() {
      const names = await flushFiles(folder)
      await mkdir(target, { recursive: true })
      for (const name of names) await rename(join(folder, name), join(target, name))
      await flush(target)
      await flush(parent)
    },
    discard: () => rm(folder, { recursive: true, force: true }),
  }
}

async function flushFiles(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder)
  for (const name of names) await flush(join(folder, name))
  return names
}

/** Forces a file or folder to disk. */
async function flush(path: string): Promise<void> {
  const handle = await open(path)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const leftover = /^\..+\.partial\.([A-Za-z0-9-]+)\.(\d+)\.[0-9a-f]{8}$/
const abandonedAfterMs = 24 * 60 * 60 * 1000

/** Removes staging folders of processes that are gone. This host's processes are known by id, another host's by age. */
async function removeLeftovers(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const match = leftover.exec(name)
    if (match === null) continue
    const [, owner, pid] = match
    const path = join(parent, name)
    const gone =
      owner === host
        ? !isRunning(Number(pid))
        : await stat(path).then(
            ({ mtimeMs }) => Date.now() - mtimeMs > abandonedAfterMs,
            () => false,
          )
    if (gone) await rm(path, { recursive: true, force: true })
  }
}
