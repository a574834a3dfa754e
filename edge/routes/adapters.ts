import type { Context } from 'hono'
import {
  AdapterListQuery,
  type AdapterSummary,
  PublishQuery,
  type PublishResponse,
} from '../../shared/api/deployments.ts'
import { toPage } from '../../shared/api/paging.ts'
import { QuartetError } from '../../shared/errors.ts'
import { maxAdapterBytes } from '../../shared/wire.ts'
import type { AuditTarget } from '../audit/audit-target.ts'
import { unwrap } from '../directory/outcome.ts'
import { requirePlainBody } from '../http/json-body.ts'
import { backgroundOf, readerOf } from '../http/reader.ts'
import { behind, parseQuery, pathParameter } from '../http/request-parts.ts'
import type { ControlApp } from '../request-context.ts'
import { readAdapters } from '../tenants/read.ts'
import { type AdapterPublication, publishAdapter } from '../uploads/publish-adapter.ts'
import type { ArrivingFile } from '../uploads/receive-adapter.ts'
import { UploadProgress } from '../uploads/upload-memory.ts'
import { moveAlias, requireOwnName } from './aliases.ts'

type C = Context<ControlApp>

/** The adapter and alias that an upload's query names, for the audit log. */
export const publication = (c: Pick<C, 'req'>): AuditTarget => parseQuery(PublishQuery, c)

/** `POST …/adapters`: an adapter file, checked while it arrives; with `alias`, deployed as well. */
export async function postAdapter(c: C): Promise<Response> {
  const { alias, digest: expected } = parseQuery(PublishQuery, c)
  if (alias !== undefined) await requireOwnName(alias, c)
  const adapter = await publishAdapter(arriving(c), publicationOf(c, expected))
  c.get('auditTarget').digest = adapter.digest
  if (alias === undefined) return c.json({ ...adapter, alias: null } satisfies PublishResponse, 201)
  const moved = await moveAlias(c, {
    alias,
    aim: { action: 'deploy', digest: adapter.digest },
    ifVersion: undefined,
  })
  return c.json(
    { ...adapter, alias: moved && { alias, version: moved.version } } satisfies PublishResponse,
    201,
  )
}

/** `PUT …/adapters/{digest}`: the same, where the digest is known. */
export async function putAdapter(c: C): Promise<Response> {
  const expected = pathParameter(c, 'digest')
  return c.json(await publishAdapter(arriving(c), publicationOf(c, expected)))
}

/** `GET …/adapters`, oldest first. */
export async function listAdapters(c: C): Promise<Response> {
  const { after, limit } = parseQuery(AdapterListQuery, c)
  const adapters = await adaptersOf(c)
  const known = adapters.find(({ digest }) => digest === after)
  const place = known === undefined ? after : placeOf(known)
  if (place !== undefined && !/^[0-9]{15}-[0-9a-f]{64}$/.test(place))
    throw new QuartetError(
      'invalid_request',
      "after: must be a page's last_id, or the digest of an adapter",
      {
        param: 'after',
      },
    )
  return c.json(toPage(behind(adapters, { after: place, limit, id: placeOf }), { limit, id: placeOf }))
}

/** An adapter's place in the order of lists, which its digest alone does not tell once it is deleted. */
const placeOf = ({ createdAt, digest }: AdapterSummary) => `${String(createdAt).padStart(15, '0')}-${digest}`

/** `GET …/adapters/{digest}`. */
export async function getAdapter(c: C): Promise<Response> {
  const digest = pathParameter(c, 'digest')
  const adapter = (await adaptersOf(c)).find((each) => each.digest === digest)
  if (adapter === undefined) throw new QuartetError('not_found', `this tenant has no adapter ${digest}`)
  return c.json(adapter)
}

/** `DELETE …/adapters/{digest}`. */
export async function deleteAdapter(c: C): Promise<Response> {
  const digest = pathParameter(c, 'digest')
  unwrap(await c.get('platform').directory(c.get('tenant')).deleteAdapter(digest))
  return c.body(null, 204)
}

/** A tenant reads what requests read; an operator reads the source. */
async function adaptersOf(c: C) {
  const tenant = c.get('tenant')
  if (c.get('actor').kind === 'key') return readAdapters(tenant, readerOf(c))
  return unwrap(await c.get('platform').directory(tenant).summary()).adapters
}

const publicationOf = (c: C, expected: AdapterPublication['expected']): AdapterPublication => ({
  tenant: c.get('tenant'),
  reader: { platform: c.get('platform'), background: backgroundOf(c) },
  expected,
})

/** An upload says how long it is: by that it is refused, or room taken for it, before it is read. */
function arriving(c: C): ArrivingFile {
  const { body, headers } = c.req.raw
  requirePlainBody(c.req.raw)
  if (headers.get('content-type')?.toLowerCase().startsWith('multipart/') === true)
    throw new QuartetError(
      'unsupported_media_type',
      "the body is a form (multipart); send the file's own bytes as the body, as curl --data-binary @FILE does",
    )
  const announced = headers.get('content-length') ?? ''
  if (!/^[0-9]+$/.test(announced))
    throw new QuartetError(
      'length_required',
      'the file must come with a Content-Length; send it from a file or from memory, not in chunks of unknown length',
    )
  const bytes = Number(announced)
  if (bytes > maxAdapterBytes)
    throw new QuartetError('body_too_large', `an adapter has at most ${maxAdapterBytes} bytes`)
  return { bytes, body: body ?? new Blob([]).stream(), progress: new UploadProgress(bytes) }
}
