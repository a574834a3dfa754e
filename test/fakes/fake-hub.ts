import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'

/** A model as the fake hub shows it. */
export interface FakeHubModel {
  readonly commit: string
  /** Branches and tags that name the commit. */
  readonly revisions: readonly string[]
  readonly licence?: string
  /** The keys are paths. A file whose name `large` matches is kept as LFS does. */
  readonly files: ReadonlyMap<string, Uint8Array>
  readonly large: RegExp
  /** Sent in place of what the listing is of. */
  readonly sentInstead?: ReadonlyMap<string, Uint8Array>
  /** Only callers with this token get its files. Everybody sees the list of files. */
  readonly gatedBy?: string
}

/**
 * The part of the model hub's HTTP API that pulling uses, on this machine: `/api/models/{repo}/revision/{revision}`,
 * `/api/models/{repo}/tree/{commit}` and `/{repo}/resolve/{commit}/{path}` with byte ranges
 * (https://huggingface.co/docs/hub/api).
 */
export async function fakeHub(models: Readonly<Record<string, FakeHubModel>>) {
  /** Bytes sent of each file. */
  const sent = new Map<string, number>()
  const server = createServer((request, response) => answer(request, response))

  function answer({ url = '', headers }: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(url, 'http://hub').pathname)
    const refuse = (status: number, error: string) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ error }))
    const json = (value: unknown) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    for (const [repo, model] of Object.entries(models)) {
      const ofRevision = (prefix: string) =>
        path.startsWith(prefix) ? path.slice(prefix.length).split('/') : undefined
      const info = ofRevision(`/api/models/${repo}/revision/`)
      const tree = ofRevision(`/api/models/${repo}/tree/`)
      const [revision, ...rest] = info ?? tree ?? ofRevision(`/${repo}/resolve/`) ?? []
      if (revision === undefined) continue
      if (revision !== model.commit && !model.revisions.includes(revision))
        return void refuse(404, `Invalid rev id: ${revision}`)
      if (info !== undefined)
        return void json({
          id: repo,
          sha: model.commit,
          gated: model.gatedBy === undefined ? false : 'manual',
          cardData: model.licence === undefined ? {} : { license: model.licence },
          tags: [],
        })
      if (tree !== undefined) return void json([...model.files].map((file) => entryOf(file, model)))
      const name = rest.join('/')
      const bytes = model.sentInstead?.get(name) ?? model.files.get(name)
      if (model.gatedBy !== undefined && headers.authorization !== `Bearer ${model.gatedBy}`)
        return void refuse(401, `Access to model ${repo} is restricted. You must have access to it.`)
      if (bytes === undefined) return void refuse(404, 'Entry not found')
      return void sendRange(response, { name, bytes, range: headers.range })
    }
    refuse(401, 'Repository not found')
  }

  function sendRange(
    response: ServerResponse,
    { name, bytes, range }: { name: string; bytes: Uint8Array; range: string | undefined },
  ): void {
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? []
    const part = bytes.subarray(Number(from), to === '' ? bytes.length : Number(to) + 1)
    sent.set(name, (sent.get(name) ?? 0) + part.length)
    response.writeHead(range === undefined ? 200 : 206, {
      etag: '"x"',
      'content-length': part.length,
      ...(range !== undefined && {
        'content-range': `bytes ${from}-${Number(from) + part.length - 1}/${bytes.length}`,
      }),
    })
    response.end(part)
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    sent,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Hash of a small file as git makes it. */
export function gitHash(bytes: Uint8Array): string {
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
}

function entryOf([path, bytes]: [string, Uint8Array], { large }: FakeHubModel) {
  const size = bytes.length
  if (!large.test(path)) return { type: 'file', path, size, oid: gitHash(bytes) }
  const oid = createHash('sha256').update(bytes).digest('hex')
  return { type: 'file', path, size, oid: '0'.repeat(40), lfs: { oid, size, pointerSize: 130 } }
}
