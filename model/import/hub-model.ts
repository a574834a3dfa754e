import { HubApiError, type ListFileEntry, listFiles, modelInfo } from '@huggingface/hub'
import { z } from 'zod'
import { QuartetError } from '../../shared/errors.ts'
import { type HubAccess, hubAccess } from './hub-access.ts'

/** A model's repository on the hub at one commit. */
export interface HubModel {
  readonly repo: string
  readonly commit: string
  /** The licence that the model's card states (`apache-2.0`); undefined where it states none. */
  readonly licence: string | undefined
  /** The keys are the files' paths. */
  readonly files: ReadonlyMap<string, HubFile>
}

export interface HubFile {
  readonly path: string
  readonly bytes: number
  /** Names the file in the hub's cache: SHA-256 of a large file (LFS), git's hash of a small one. */
  readonly hash: string
  readonly isLarge: boolean
}

/** `owner/name`, or the name alone of some old models. */
const repoName = /^(?:[A-Za-z0-9][A-Za-z0-9._-]{0,95}\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,95}$/
/** A branch, a tag or a commit; never a path that leaves its folder. */
const revisionName = /^(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$/

export function checkRepoName(repo: string): void {
  if (!repoName.test(repo) || repo.includes('..') || repo.includes('--'))
    throw new QuartetError('invalid_request', `“${repo}” is not the id of a model: it is owner/name`)
}

export function checkRevision(revision: string): void {
  if (!revisionName.test(revision))
    throw new QuartetError(
      'invalid_request',
      `--revision “${revision}” is neither a branch, a tag nor a commit`,
    )
}

const Card = z.object({
  license: z.union([z.string(), z.array(z.string())]).optional(),
  license_name: z.string().optional(),
})
const commitHash = /^[0-9a-f]{7,64}$/
const maxFiles = 20_000

interface Wanted {
  readonly repo: string
  readonly revision: string
  readonly signal?: AbortSignal | undefined
}

/** Asks the hub what a repository has. Throws `not_found` or `invalid_request` that says what is wrong with the request. */
export async function findHubModel(wanted: Wanted): Promise<HubModel> {
  const { repo, revision, signal } = wanted
  const access = { ...hubAccess(), fetch: fetchUntil(signal) }
  try {
    const info = await modelInfo({
      ...access,
      name: repo,
      revision,
      additionalFields: ['sha', 'cardData', 'tags'],
    })
    const commit = info.sha ?? ''
    if (!commitHash.test(commit)) throw new Error(`it names no commit for ${revision}`)
    const files = new Map<string, HubFile>()
    for await (const entry of listFiles({ ...access, repo, revision: commit, recursive: true })) {
      const file = fileOf(entry)
      if (file !== undefined) files.set(file.path, file)
      if (files.size > maxFiles) throw new Error(`it has more than ${maxFiles} files`)
    }
    return { repo, commit, licence: licenceOf(info), files }
  } catch (error) {
    signal?.throwIfAborted()
    throw hubFailure(error, { repo, revision, access })
  }
}

const sha256 = /^[0-9a-f]{64}$/
const gitHash = /^[0-9a-f]{40}$/

function fileOf({ type, path, size, oid, lfs }: ListFileEntry): HubFile | undefined {
  if (type !== 'file' || path.split('/').some((part) => part === '' || part === '.' || part === '..'))
    return undefined
  if (lfs !== undefined)
    return sha256.test(lfs.oid) ? { path, bytes: lfs.size, hash: lfs.oid, isLarge: true } : undefined
  return gitHash.test(oid ?? '') ? { path, bytes: size, hash: oid ?? '', isLarge: false } : undefined
}

function licenceOf({ cardData, tags }: { cardData?: unknown; tags?: readonly string[] }): string | undefined {
  const card = Card.safeParse(cardData).data
  const stated = [card?.license ?? []].flat().join(', ')
  if (stated === 'other' && card?.license_name !== undefined) return card.license_name
  return stated || tags?.find((tag) => tag.startsWith('license:'))?.slice('license:'.length)
}

/** `fetch` that stops with the signal. */
export function fetchUntil(signal: AbortSignal | undefined): typeof fetch {
  return (input, init) => fetch(input, { ...init, ...(signal && { signal }) })
}

/** A refusal of the hub in words: who is refused, and what helps. */
export function hubFailure(
  error: unknown,
  { repo, revision, access }: { repo: string; revision: string; access: HubAccess },
): unknown {
  if (!(error instanceof HubApiError)) return error
  const { hubUrl, accessToken } = access
  const page = `${hubUrl}/${repo}`
  // The library appends the address that it asked, whose query names fields of its own.
  const [message = ''] = error.message.split('. URL: ')
  const as = (code: 'not_found' | 'invalid_request', text: string) =>
    new QuartetError(code, text, { cause: error })
  if (/gated|restricted|awaiting a review/i.test(message) || error.statusCode === 403)
    return as(
      'invalid_request',
      `${repo} is gated: accept its terms at ${page}, and set HF_TOKEN to a token of that account${accessToken === undefined ? '' : ' (the token that is set has no access)'}`,
    )
  if (error.statusCode === 401)
    return as(
      'not_found',
      `the hub shows no model ${repo} to ${accessToken === undefined ? 'callers without a token' : 'this token'}: check the id; for a private or gated model accept its terms at ${page} and set HF_TOKEN`,
    )
  if (error.statusCode === 404)
    return as(
      'not_found',
      /revision/i.test(message)
        ? `${repo} has no revision ${revision}; ${page}/commits/main lists them`
        : `the hub has no model ${repo} with the revision ${revision}; check the id and --revision`,
    )
  return new Error(`the hub answers ${error.statusCode} for ${repo}: ${message}`, { cause: error })
}
