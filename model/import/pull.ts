import { rm } from 'node:fs/promises'
import type { BackboneManifest } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { type Backbone, openBackbone } from '../backbone/backbone-folder.ts'
import { type Cache, cachedBackbone, openCache } from '../backbone/cache.ts'
import { type Catalogue, catalogue as published } from './catalogue.ts'
import { importBackbone } from './import.ts'
import type { ObtainOptions, Origin } from './origin.ts'
import { isStorageError } from './pinned-download.ts'
import { withLock } from './process-lock.ts'
import type { OnProgress } from './progress.ts'

export interface PullOptions {
  readonly slug: string
  readonly weights: BackboneManifest['weights']
  readonly eightBits?: BackboneManifest['eightBits']
  readonly cache?: Cache | undefined
  readonly catalogue?: Catalogue | undefined
  readonly onProgress?: OnProgress | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * A backbone from the local cache, or else from the first origin of the catalogue that has it, converted and cached.
 * Any number of processes may pull the same one at once. Throws `not_found` when no origin can be reached.
 */
export async function pullBackbone({
  slug,
  weights,
  eightBits,
  cache = openCache(),
  catalogue = published,
  onProgress,
  signal,
}: PullOptions): Promise<Backbone> {
  const destination = cache.backbone(slug, weights)
  const cached = await cachedBackbone(destination).catch(ignoreBroken)
  if (cached !== undefined) return cached
  const origins = originsOf(slug, catalogue)
  const onWait = () =>
    onProgress?.({ type: 'note', text: `another process is pulling ${slug}; waiting for it` })
  return withLock(cache.lock(slug), { onWait, signal }, async () => {
    const meanwhile = await cachedBackbone(destination).catch(async (error: unknown) => {
      ignoreBroken(error)
      onProgress?.({ type: 'note', text: `making it again: ${reason(error)}` })
      await rm(destination, { recursive: true })
    })
    if (meanwhile !== undefined) return meanwhile
    const folder = cache.source(slug)
    const path =
      (await keptSource(origins, folder)) ?? (await obtain(origins, { slug, folder, onProgress, signal }))
    await importBackbone({ path, slug, weights, eightBits, destination, onProgress, signal })
    return openBackbone(destination)
  })
}

/** A broken copy in the cache is as good as none: it can be made again. */
function ignoreBroken(error: unknown): undefined {
  if (error instanceof QuartetError && error.code === 'backbone_invalid') return undefined
  throw error
}

function originsOf(slug: string, catalogue: Catalogue): readonly Origin[] {
  const origins = Object.hasOwn(catalogue, slug) ? catalogue[slug] : undefined
  if (origins === undefined)
    throw new QuartetError(
      'not_found',
      `there is no backbone ${slug} to pull (there is ${Object.keys(catalogue).join(', ')}); import a model of your own with quartet backbone import`,
    )
  return origins
}

/** The files that an earlier pull left, so that a second conversion starts from the same weights as the first. */
async function keptSource(origins: readonly Origin[], folder: string): Promise<string | undefined> {
  for (const origin of origins) {
    const path = await origin.kept(folder)
    if (path !== undefined) return path
  }
  return undefined
}

async function obtain(
  origins: readonly Origin[],
  { slug, ...options }: ObtainOptions & { readonly slug: string },
): Promise<string> {
  const failures: string[] = []
  for (const origin of origins)
    try {
      options.onProgress?.({
        type: 'note',
        text: `${slug}, licence ${origin.licence}: ${(origin.bytes / 1e6).toFixed(1)} MB from ${origin.name}`,
      })
      return await origin.obtain(options)
    } catch (error) {
      options.signal?.throwIfAborted()
      if (isStorageError(error)) throw error
      const failure = `not from ${origin.name}: ${reason(error)}`
      failures.push(failure)
      options.onProgress?.({ type: 'note', text: failure })
    }
  throw new QuartetError(
    'not_found',
    `no origin could be reached (${failures.join('; ')}); check the network, or import a file with quartet backbone import`,
  )
}

/** An error and what caused it, in one line. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const message = error.message.trim().replaceAll(/\s+/g, ' ')
  return error.cause === undefined ? message : `${message} (${reason(error.cause)})`
}
