import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { z } from 'zod'
import { CliFailure } from '../cli/command/failure.ts'
import { readJsonFile } from '../cli/local/json-file.ts'

/** A working tree of this project at some commit, with its packages. */
export interface Checkout {
  readonly folder: string
  /** Its commit, and `dirty` where files differ from that; empty where git does not tell. */
  readonly commit: string
}

/** The one that this benchmark belongs to. */
export function thisCheckout(): Promise<Checkout> {
  return checkoutIn(resolve(fileURLToPath(new URL('..', import.meta.url))))
}

/** The one that --checkout names. Throws `CliFailure` for a folder that cannot be started, with what it lacks. */
export async function checkoutNamed(named: string | undefined): Promise<Checkout> {
  const make = 'git worktree add FOLDER COMMIT makes one, and npm ci in it gets its packages'
  if (named === undefined || named === '')
    throw new CliFailure('--checkout is missing: the folder of an earlier commit of this project', {
      remedy: make,
    })
  const folder = resolve(named)
  if (!existsSync(folder)) throw new CliFailure(`--checkout names no folder: ${folder}`, { remedy: make })
  const described = await readJsonFile(join(folder, 'package.json'), Package).catch(() => undefined)
  if (described === undefined || !existsSync(entryOf(folder)))
    throw new CliFailure(`--checkout is no checkout of this project: ${folder}`, { remedy: make })
  if (!existsSync(join(folder, 'node_modules')))
    throw new CliFailure(`--checkout has no node_modules: ${folder}`, { remedy: 'run npm ci in it' })
  return await checkoutIn(folder)
}

const Package = z.object({ name: z.literal('quartet') })

/** Folder and commit, for readers. */
export function titleOf({ commit, folder }: Checkout): string {
  return commit === '' ? folder : `${folder} (${commit})`
}

/** The program of a checkout. */
export function entryOf(folder: string): string {
  return join(folder, 'cli', 'main.ts')
}

async function checkoutIn(folder: string): Promise<Checkout> {
  const described = promisify(execFile)(
    'git',
    ['-C', folder, 'describe', '--always', '--dirty', '--exclude', '*'],
    { encoding: 'utf8' },
  )
  return {
    folder,
    commit: await described.then(
      ({ stdout }) => stdout.trim(),
      () => '',
    ),
  }
}
