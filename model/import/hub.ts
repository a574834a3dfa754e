import { join } from 'node:path'
import { downloadFile } from '@huggingface/hub'
import { hubAccess } from './hub-access.ts'
import { HubCache } from './hub-cache.ts'
import type { ObtainOptions, Origin, PinnedFile } from './origin.ts'
import { downloadPinned, isWhole } from './pinned-download.ts'

/** A repository of the model hub at one commit. */
export interface HubRepository {
  readonly repo: string
  readonly revision: string
  readonly licence: string
  readonly files: readonly PinnedFile[]
}

/** A model from the hub that HF_ENDPOINT names (huggingface.co by default), with HF_TOKEN where that is set. */
export function fromHub(repository: HubRepository): Origin {
  return {
    name: `the model hub (${repository.repo})`,
    licence: repository.licence,
    bytes: repository.files.reduce((sum, { bytes }) => sum + bytes, 0),
    kept: (folder) => kept(repository, folder),
    obtain: (options) => obtain(repository, options),
  }
}

const kept = ({ files }: HubRepository, folder: string) => whole(files, join(folder, 'hub'))

/** The folder, unless it lacks one of the files or has other bytes. */
async function whole(files: readonly PinnedFile[], folder: string): Promise<string | undefined> {
  for (const file of files) if (!(await isWhole(join(folder, file.name), file))) return undefined
  return folder
}

async function obtain(
  { repo, revision, files }: HubRepository,
  { folder, onProgress, signal }: ObtainOptions,
): Promise<string> {
  // Another tool may have downloaded it.
  const snapshot = await whole(files, new HubCache(repo).snapshot(revision))
  if (snapshot !== undefined) {
    onProgress?.({ type: 'note', text: `all of it is in the hub's cache, ${snapshot}` })
    return snapshot
  }
  const access = hubAccess()
  for (const file of files)
    await downloadPinned({
      file,
      target: join(folder, 'hub', file.name),
      signal,
      onBytes: (done) =>
        onProgress?.({
          type: 'progress',
          task: `downloading ${file.name}`,
          done,
          total: file.bytes,
          unit: 'bytes',
        }),
      async open(offset, stop) {
        const blob = await downloadFile({
          repo,
          path: file.name,
          revision,
          ...access,
          // Plain HTTP goes on from any byte and works with every mirror; Xet does neither.
          xet: false,
          fetch: (input, init) => fetch(input, { ...init, signal: stop }),
        })
        if (blob === null) throw new Error(`${repo} has no ${file.name}`)
        return (offset === 0 ? blob : blob.slice(offset, file.bytes)).stream()
      },
    })
  return join(folder, 'hub')
}
