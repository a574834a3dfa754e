import type { Context } from 'hono'
import { PutShadowRequest, ShadowEndRequest } from '../../shared/api/deployments.ts'
import { toPage } from '../../shared/api/paging.ts'
import { parseRequest } from '../../shared/api/parse.ts'
import { ShadowAnswersQuery } from '../../shared/api/shadows.ts'
import { QuartetError } from '../../shared/errors.ts'
import { unwrap } from '../directory/outcome.ts'
import { readJson } from '../http/json-body.ts'
import { parseQuery, pathParameter } from '../http/request-parts.ts'
import type { ControlApp } from '../request-context.ts'
import { moveAlias, readOptional } from './aliases.ts'

type C = Context<ControlApp>

/** `PUT …/aliases/{alias}/shadow`: begins a shadow, or changes its share. */
export async function putShadow(c: C): Promise<Response> {
  const { digest, if_version, percent } = parseRequest(PutShadowRequest, await readJson(c.req.raw))
  const aim = { action: 'shadow', digest, percent } as const
  return c.json(await moveAlias(c, { alias: pathParameter(c, 'alias'), aim, ifVersion: if_version }))
}

/** `DELETE …/aliases/{alias}/shadow`: what it answered stays. */
export async function endShadow(c: C): Promise<Response> {
  const { if_version } = await readOptional(ShadowEndRequest, c)
  const aim = { action: 'unshadow' } as const
  return c.json(await moveAlias(c, { alias: pathParameter(c, 'alias'), aim, ifVersion: if_version }))
}

/** `GET …/aliases/{alias}/shadow/answers`, newest first. */
export async function listShadowAnswers(c: C): Promise<Response> {
  const { after, limit } = parseQuery(ShadowAnswersQuery, c)
  const before = after === undefined ? undefined : Number(after)
  if (before !== undefined && !(Number.isSafeInteger(before) && before > 0))
    throw new QuartetError('invalid_request', "after: must be an answer's id", { param: 'after' })
  const kept = await keptOf(c)
  const answers = await kept.list(pathParameter(c, 'alias'), { before, limit: limit + 1 })
  return c.json(toPage(answers, { limit, id: ({ id }) => id }))
}

/** `DELETE …/aliases/{alias}/shadow/answers`. */
export async function deleteShadowAnswers(c: C): Promise<Response> {
  return c.json({ deleted: await (await keptOf(c)).clear(pathParameter(c, 'alias')) })
}

/** What shadows of the tenant answered. An alias that is deleted has its answers still. */
async function keptOf(c: C) {
  const { directory, shadows } = c.get('platform')
  const tenant = c.get('tenant')
  const record = c.get('tenantRecord') ?? unwrap(await directory(tenant).summary())
  return shadows(tenant, record.createdAt)
}
