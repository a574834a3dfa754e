import { rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { BackboneManifest } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { BackboneSlug } from '../../shared/ids.ts'
import { type Backbone, openBackbone } from '../backbone/backbone-folder.ts'
import { type Cache, cachedBackbone, openCache } from '../backbone/cache.ts'
import { requireGgufArchitecture } from './gguf.ts'
import { readGgufHeader } from './gguf-header.ts'
import { HubCache, hubContent } from './hub-cache.ts'
import { checkRepoName, checkRevision, findHubModel, type HubFile, type HubModel } from './hub-model.ts'
import { type HubSelection, selectFiles, shardIndex, wholeWeights } from './hub-selection.ts'
import { describeHuggingFace } from './huggingface.ts'
import { importBackbone } from './import.ts'
import { withLock } from './process-lock.ts'
import type { OnProgress } from './progress.ts'
import { shardsOf } from './safetensors-files.ts'

export interface HubPullOptions {
  /** `owner/name`. */
  readonly repo: string
  /** A branch, a tag or a commit; `main` when absent. */
  readonly revision?: string | undefined
  /** Path of a GGUF file in the repository; its first part where it is split. */
  readonly file?: string | undefined
  /** The backbone's slug here; made from the names of repository or file when absent. */
  readonly slug?: string | undefined
  readonly weights: BackboneManifest['weights']
  readonly eightBits?: BackboneManifest['eightBits']
  readonly cache?: Cache | undefined
  readonly onProgress?: OnProgress | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * A backbone from any model of the hub, through the hub's own cache. Every refusal comes before weights are downloaded,
 * if possible: models that the hub does not show, architectures that are not served, tokenizers, a full disk.
 */
export async function pullFromHub(options: HubPullOptions): Promise<Backbone> {
  const { repo, revision = 'main', file, weights, cache = openCache(), onProgress, signal } = options
  checkRepoName(repo)
  checkRevision(revision)
  const slug = options.slug ?? slugOf(repo, file)
  const destination = cache.backbone(slug, weights)
  const there = await usableBackbone(destination)
  if (there !== undefined) return expectSource(there, options)
  const hubCache = new HubCache(repo)
  const onWait = () =>
    onProgress?.({ type: 'note', text: `another process is pulling ${repo}; waiting for it` })
  return withLock(hubCache.lock, { onWait, signal }, async () => {
    const meanwhile = await usableBackbone(destination)
    if (meanwhile !== undefined) return expectSource(meanwhile, options)
    const model = await findHubModel({ repo, revision, signal })
    const selection = selectFiles(model, file)
    const path = await download(selection, { model, hubCache, onProgress, signal })
    await hubCache.rememberCommit(revision, model.commit)
    await rm(destination, { recursive: true, force: true })
    await importBackbone({
      path,
      slug,
      weights,
      eightBits: options.eightBits,
      destination,
      onProgress,
      signal,
      sourceName: sourceName(model, selection),
    })
    return openBackbone(destination)
  })
}

/** The backbone, unless it is broken or of another version: then it is made again. */
async function usableBackbone(folder: string): Promise<Backbone | undefined> {
  try {
    return await cachedBackbone(folder)
  } catch (error) {
    if (error instanceof QuartetError && error.code === 'backbone_invalid') return undefined
    throw error
  }
}

/** Makes a slug such as `qwen2.5-0.5b-instruct`. */
function slugOf(repo: string, file: string | undefined): string {
  const name = file === undefined ? repo : file.replace(/(-\d{5}-of-\d{5})?\.gguf$/, '')
  const slug = (name.split('/').at(-1) ?? '').toLowerCase()
  if (BackboneSlug.safeParse(slug).success) return slug
  throw new QuartetError(
    'invalid_request',
    `“${slug}” cannot name a backbone here; choose a name with --slug`,
  )
}

function sourceName({ repo, commit }: HubModel, selection: HubSelection): string {
  return selection.format === 'gguf' ? `${repo}@${commit}/${selection.parts[0].path}` : `${repo}@${commit}`
}

/** Throws `conflict` unless the backbone came from the repository, revision and file that are asked for. */
function expectSource(backbone: Backbone, { repo, revision, file }: HubPullOptions): Backbone {
  const { slug, source } = backbone.manifest
  const [commit = '', ...path] = source.name.startsWith(`${repo}@`)
    ? source.name.slice(repo.length + 1).split('/')
    : []
  const isOfCommit = revision === undefined || !isCommit(revision) || commit.startsWith(revision)
  if (commit !== '' && isOfCommit && (file === undefined || path.join('/') === file)) return backbone
  throw new QuartetError(
    'conflict',
    `${backbone.folder} holds ${slug} from ${source.name}; give this one another name with --slug, or remove that folder first`,
  )
}

const isCommit = (revision: string) => /^[0-9a-f]{7,64}$/.test(revision)

interface Download {
  readonly model: HubModel
  readonly hubCache: HubCache
  readonly onProgress: OnProgress | undefined
  readonly signal: AbortSignal | undefined
}

/** Brings the selected files into the hub's cache; the path that `openSource` takes. */
async function download(selection: HubSelection, context: Download): Promise<string> {
  const { model, hubCache } = context
  const snapshot = hubCache.snapshot(model.commit)
  if (selection.format === 'gguf') {
    const [first] = selection.parts
    await announce(selection.parts, context)
    if (!(await hubCache.has(model.commit, first))) await checkGguf(first, context)
    for (const part of selection.parts) await hubCache.obtain(part, context)
    return join(snapshot, first.path)
  }
  for (const file of selection.described) await hubCache.obtain(file, context)
  await describeHuggingFace(snapshot)
  const weights = await weightFilesOf(model, snapshot)
  await announce([...selection.described, ...weights], context)
  for (const file of weights) await hubCache.obtain(file, context)
  return snapshot
}

async function weightFilesOf({ repo, files }: HubModel, snapshot: string): Promise<readonly HubFile[]> {
  const whole = files.get(wholeWeights)
  if (whole !== undefined) return [whole]
  const path = join(snapshot, shardIndex)
  const shards = await shardsOf(path)
  return shards.map((name) => {
    const file = files.get(name)
    if (file !== undefined) return file
    throw new QuartetError(
      'backbone_invalid',
      `${shardIndex} of ${repo} names ${name}, which the repository does not have; choose another --revision`,
    )
  })
}

/** Says what is about to be downloaded, and refuses where the disk cannot take it. */
async function announce(
  files: readonly HubFile[],
  { model: { repo, commit, licence }, hubCache, onProgress }: Download,
): Promise<void> {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  let missing = 0
  for (const file of files) missing += await hubCache.missingBytes(commit, file)
  const toDownload =
    missing === 0
      ? `all of it in ${hubCache.folder}`
      : `${megabytes(missing)} to download into ${hubCache.folder}`
  onProgress?.({
    type: 'note',
    text: `${repo} at ${commit.slice(0, 12)}, licence ${licence ?? 'not stated'}: ${files.length} ${files.length === 1 ? 'file' : 'files'}, ${megabytes(bytes)}, ${toDownload}`,
  })
  const { bavail, bsize } = await statfs(await nearestFolder(hubCache.folder))
  if (missing > bavail * bsize)
    throw new QuartetError(
      'exceeds_limit',
      `${megabytes(missing)} are to be downloaded into ${hubCache.folder} and ${megabytes(bavail * bsize)} are free there; free some space, or move the hub's cache with HF_HUB_CACHE`,
    )
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`
}

/** The folder, or the nearest above it that is there. */
async function nearestFolder(folder: string): Promise<string> {
  for (let at = folder; ; at = join(at, '..'))
    if (
      at === '/' ||
      (await statfs(at).then(
        () => true,
        () => false,
      ))
    )
      return at
}

/** Reads a GGUF file's header from the hub, and refuses what is not served before the file is downloaded. */
async function checkGguf({ path, bytes }: HubFile, { model, signal }: Download): Promise<void> {
  const content = await hubContent(model, { path, signal })
  const name = `${model.repo}/${path}`
  const header = await readGgufHeader({
    path: name,
    bytes,
    readBytes: async (start, length) =>
      new Uint8Array(await content.slice(start, start + length).arrayBuffer()),
  })
  requireGgufArchitecture(header.metadata, name)
}
