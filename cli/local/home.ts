import { mkdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { CliFailure, isSystemError } from '../command/failure.ts'

/** The places of files under QUARTET_HOME. */
export interface Home {
  readonly folder: string
  /** Held by the `quartet start` that runs here. */
  readonly lock: string
  readonly secrets: string
  /** URLs, tenants and their keys, for people and tools. */
  readonly localState: string
  /** The worker's KV and Durable Objects. */
  readonly edgeState: string
  /** Compiled demo adapters. */
  readonly demoAdapters: string
  readonly logs: string
}

export function homeAt(folder: string): Home {
  return {
    folder,
    lock: join(folder, 'lock.sqlite'),
    secrets: join(folder, 'secrets.json'),
    localState: join(folder, 'local.json'),
    edgeState: join(folder, 'edge'),
    demoAdapters: join(folder, 'demo-adapters'),
    logs: join(folder, 'logs'),
  }
}

export async function makeHome({ folder, edgeState, demoAdapters, logs }: Home): Promise<void> {
  for (const each of [folder, edgeState, demoAdapters, logs]) await makeFolder(each)
}

/**
 * Makes a folder, and those above it that are missing. Not by Node's recursive `mkdir`: that never ends where the
 * system keeps answering ENOENT (under /proc), and names the wrong cause where a folder above cannot be made.
 */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 })
  } catch (error) {
    if (!isSystemError(error)) throw error
    if (error.code === 'ENOENT' && dirname(folder) !== folder) {
      await makeFolder(dirname(folder))
      await mkdir(folder, { mode: 0o700 })
    } else if (error.code !== 'EEXIST') throw error
    else if (!(await stat(folder)).isDirectory())
      throw new CliFailure(`${folder} is a file`, { remedy: 'choose a folder with --home or QUARTET_HOME' })
  }
}
