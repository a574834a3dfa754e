import type { Context } from 'hono'
import type { Platform } from '../platform.ts'
import type { App } from '../request-context.ts'
import type { Reader } from '../tenants/read.ts'

/** Keeps work alive that outlasts the request. */
export const backgroundOf =
  (c: Pick<Context, 'executionCtx'>): Reader['background'] =>
  (work) =>
    c.executionCtx.waitUntil(work)

/** The platform, to read from for one request. */
export const readerOf = (
  c: Pick<Context<App>, 'get' | 'executionCtx'>,
): { readonly platform: Platform; readonly background: Reader['background'] } => ({
  platform: c.get('platform'),
  background: backgroundOf(c),
})
