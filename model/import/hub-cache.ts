import { createHash } from 'node:crypto'
import { lstat, mkdir, readFile, realpath, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { downloadFile } from '@huggingface/hub'
import { QuartetError } from '../../shared/errors.ts'
import { hubAccess, hubCacheRoot } from './hub-access.ts'
import { fetchUntil, type HubFile, type HubModel, hubFailure } from './hub-model.ts'
import { downloadPinned } from './pinned-download.ts'
import type { OnProgress } from './progress.ts'

/**
 * A model's folder in the hub's own cache, as its Python library lays it out: `blobs/{hash}` holds the bytes,
 * `snapshots/{commit}/{path}` links to them, `refs/{revision}` names the commit of a branch or a tag
 * (https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
 */
export class HubCache {
  readonly #folder: string

  constructor(repo: string, root: string = hubCacheRoot()) {
    this.#folder = join(root, `models--${repo.replaceAll('/', '--')}`)
  }

  get folder(): string {
    return this.#folder
  }

  /** Held while something is downloaded. */
  get lock(): string {
    return join(dirname(this.#folder), '.locks', `${this.#folder.split('/').at(-1)}.quartet.lock`)
  }

  snapshot(commit: string): string {
    return join(this.#folder, 'snapshots', commit)
  }

  /** The commit that a branch, tag or commit was, when it was last looked up. */
  async commitOf(revision: string): Promise<string | undefined> {
    const named = await readFile(join(this.#folder, 'refs', revision), 'utf8').catch(() => undefined)
    const commit = named?.trim() ?? revision
    if (!/^[0-9a-f]{40,64}$/.test(commit)) return undefined
    return (await isThere(this.snapshot(commit))) ? commit : undefined
  }

  async rememberCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit) return
    await replaceFile(join(this.#folder, 'refs', revision), Buffer.from(commit))
  }

  /** Whether a file's snapshot is there with all its bytes. */
  async has(commit: string, { path, bytes }: Pick<HubFile, 'path' | 'bytes'>): Promise<boolean> {
    return (await sizeOf(join(this.snapshot(commit), path))) === bytes
  }

  /** How much of a file is still to be downloaded. */
  async missingBytes(commit: string, file: HubFile): Promise<number> {
    if (await this.has(commit, file)) return 0
    const blob = this.#blob(file)
    const there = Math.max(await sizeOf(blob), file.isLarge ? await sizeOf(`${blob}.part`) : 0)
    return Math.max(0, file.bytes - there)
  }

  /** Brings a file into its snapshot. Throws `digest_mismatch` when what arrives is another file. */
  async obtain(
    file: HubFile,
    {
      model,
      onProgress,
      signal,
    }: { model: HubModel; onProgress?: OnProgress | undefined; signal?: AbortSignal | undefined },
  ): Promise<void> {
    const { commit } = model
    if (await this.has(commit, file)) return
    const blob = this.#blob(file)
    if ((await sizeOf(blob)) !== file.bytes) {
      await mkdir(dirname(blob), { recursive: true })
      if (file.isLarge)
        await downloadPinned({
          file: { name: file.path, bytes: file.bytes, sha256: file.hash },
          target: blob,
          signal,
          onBytes: (done) =>
            onProgress?.({
              type: 'progress',
              task: `downloading ${file.path}`,
              done,
              total: file.bytes,
              unit: 'bytes',
            }),
          open: async (offset, stop) => {
            const content = await hubContent(model, { path: file.path, signal: stop })
            return (offset === 0 ? content : content.slice(offset, file.bytes)).stream()
          },
        })
      else await replaceFile(blob, await smallFile(file, { model, signal }))
    }
    await link(join(this.snapshot(commit), file.path), blob)
  }

  #blob({ hash }: HubFile): string {
    return join(this.#folder, 'blobs', hash)
  }
}

/** A file of the hub, whose bytes are fetched as they are read. */
export async function hubContent(
  { repo, commit }: Pick<HubModel, 'repo' | 'commit'>,
  { path, signal }: { path: string; signal?: AbortSignal | undefined },
): Promise<Blob> {
  const access = hubAccess()
  try {
    const content = await downloadFile({
      ...access,
      repo,
      path,
      revision: commit,
      // Plain HTTP goes on from any byte and works with every mirror; Xet does neither.
      xet: false,
      fetch: fetchUntil(signal),
    })
    if (content === null) throw new QuartetError('not_found', `${repo} has no ${path}`)
    return content
  } catch (error) {
    signal?.throwIfAborted()
    throw hubFailure(error, { repo, revision: commit, access })
  }
}

/** Checked against git's hash of a file: SHA-1 of `blob {bytes}\0` and the bytes. */
async function smallFile(
  file: HubFile,
  { model, signal }: { model: HubModel; signal: AbortSignal | undefined },
): Promise<Uint8Array> {
  const content = await hubContent(model, { path: file.path, signal })
  const bytes = new Uint8Array(await content.arrayBuffer())
  const found = createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
  if (found === file.hash) return bytes
  throw new QuartetError(
    'digest_mismatch',
    `${file.path} of ${model.repo} has git’s hash ${found} instead of ${file.hash}; try again, or check HF_ENDPOINT`,
  )
}

async function link(path: string, blob: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  // A link whose blob is gone or is of another size stands in the way.
  if (await lstat(path).catch(() => undefined)) await rm(path)
  await symlink(relative(await realpath(dirname(path)), await realpath(blob)), path)
}

async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const temporary = `${path}.${process.pid}.part`
  try {
    await writeFile(temporary, bytes)
    await rename(temporary, path)
  } finally {
    await rm(temporary, { force: true })
  }
}

function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  )
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
