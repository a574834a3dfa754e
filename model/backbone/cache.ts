import { readdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { BackboneManifest } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { BackboneSlug } from '../../shared/ids.ts'
import { type Backbone, openBackbone } from './backbone-folder.ts'

type Weights = BackboneManifest['weights']

/** Where models are kept on this machine. */
export interface Cache {
  readonly root: string
  /** Folder of a converted backbone. */
  backbone(slug: string, weights: Weights): string
  /** Folder of the files a backbone was converted from. */
  source(slug: string): string
  /** The lock for work that only one process at a time may do. */
  lock(slug: string): string
}

/** QUARTET_CACHE, else $XDG_CACHE_HOME/quartet, else ~/.cache/quartet. */
export function openCache({ QUARTET_CACHE, XDG_CACHE_HOME }: NodeJS.ProcessEnv = process.env): Cache {
  const root = QUARTET_CACHE || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'quartet')
  return {
    root,
    backbone: (slug, weights) => join(root, 'backbones', `${checkedSlug(slug)}-${weights}`),
    source: (slug) => join(root, 'sources', checkedSlug(slug)),
    lock: (slug) => join(root, 'sources', `${checkedSlug(slug)}.lock`),
  }
}

/** A slug names a folder, so it must not be a path. Throws `invalid_request`. */
function checkedSlug(slug: string): string {
  const parsed = BackboneSlug.safeParse(slug)
  if (!parsed.success)
    throw new QuartetError('invalid_request', `“${slug}”: ${parsed.error.issues[0]?.message}`)
  return parsed.data
}

/** A cached backbone, or undefined when there is none. Throws `backbone_invalid` when it is broken. */
export async function cachedBackbone(folder: string): Promise<Backbone | undefined> {
  try {
    return await openBackbone(folder)
  } catch (error) {
    if (error instanceof QuartetError && error.code === 'not_found') return undefined
    throw error
  }
}

/** Lists the cache: whole backbones, and for each other folder the reason why it cannot be used. */
export async function listBackbones(
  cache: Cache,
): Promise<readonly (Backbone | { folder: string; problem: string })[]> {
  const parent = join(cache.root, 'backbones')
  const names = (await readdir(parent).catch(() => [])).filter((name) => !name.startsWith('.')).sort()
  return Promise.all(
    names.map(async (name) => {
      const folder = join(parent, name)
      try {
        return await openBackbone(folder)
      } catch (error) {
        return { folder, problem: error instanceof Error ? error.message : String(error) }
      }
    }),
  )
}
