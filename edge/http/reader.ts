import type { Context } from 'hono'
import type { App } from '../request-context.ts'
import type { Reader } from '../tenants/read.ts'

/** Keeps work alive that outlasts the request. */
export const backgroundOf =
  (c: Pick<Context, 'executionCtx'>): Reader['background'] =>
  (work) =>
    c.executionCtx.waitUntil(work)

/** What a request reads the tenants' records with. */
export const readerOf = (c: Pick<Context<App>, 'get' | 'executionCtx'>): Reader => ({
  platform: c.get('platform'),
  background: backgroundOf(c),
})
