import { basename } from 'node:path'
import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import { listBackbones, openCache } from '../../model/backbone/cache.ts'
import type { AdapterFile } from '../../shared/adapter-file.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { AdapterDigest, type BackboneDigest } from '../../shared/ids.ts'
import { adapterIn } from '../command/adapter-in.ts'
import { CliFailure } from '../command/failure.ts'
import { readNamedFile } from '../command/named-file.ts'

/** The name that tables give the backbone itself. */
export const untuned = 'untuned'

/** An adapter file that is evaluated, under the name that tables give it. */
export interface NamedAdapter {
  readonly name: string
  readonly path: string
  readonly digest: AdapterDigest
  readonly file: AdapterFile
}

/** Throws what `adapterIn` throws, and when a file is given twice. */
export async function readAdapters(paths: readonly string[]): Promise<readonly NamedAdapter[]> {
  const adapters = await Promise.all(paths.map(readAdapter))
  for (const [at, { digest, path }] of adapters.entries()) {
    const same = adapters.slice(0, at).find((other) => other.digest === digest)
    if (same !== undefined)
      throw new CliFailure(`${path} and ${same.path} are the same adapter`, { remedy: 'name it once' })
  }
  const isShort = new Set([untuned, ...adapters.map(({ name }) => name)]).size === adapters.length + 1
  return isShort ? adapters : adapters.map((adapter) => ({ ...adapter, name: adapter.path }))
}

async function readAdapter(path: string): Promise<NamedAdapter> {
  const bytes = await readNamedFile(path)
  const file = adapterIn(path, bytes)
  return { name: basename(path), path, file, digest: AdapterDigest.parse(await sha256Hex(bytes)) }
}

/** The backbone on this machine that all of these were made for, whatever its weight format. */
export async function backboneOf(adapters: readonly NamedAdapter[]): Promise<Backbone> {
  const [first] = adapters
  if (first === undefined) throw new CliFailure('no adapter is named', { remedy: 'name at least one file' })
  const { backbone, backbone_sha256: digest } = first.file.metadata
  const other = adapters.find(({ file }) => file.metadata.backbone_sha256 !== digest)
  if (other !== undefined)
    throw new CliFailure(`${first.path} and ${other.path} are for different backbones`, {
      remedy: 'evaluate them one at a time',
    })
  return await requireDigest({ slug: backbone, digest, path: first.path })
}

async function requireDigest(of: { slug: string; digest: BackboneDigest; path: string }): Promise<Backbone> {
  for (const found of await listBackbones(openCache()))
    if ('manifest' in found && found.manifest.digest === of.digest) return found
  throw new CliFailure(
    `${of.path} is for the backbone ${of.slug} with digest ${of.digest.slice(0, 12)}…, which is not on this machine`,
    {
      remedy: `quartet backbone list shows what is; quartet backbone pull ${of.slug} gets the 8-bit weights, with --weights f32 the others`,
    },
  )
}
