import { createMiddleware } from 'hono/factory'
import { newRequestId } from '../../shared/ids.ts'
import { platformOf } from '../env.ts'
import type { App } from './context.ts'

/** Names the request, says so on whatever leaves, and opens the platform. Outermost. */
export const requestContext = createMiddleware<App>(async (c, next) => {
  const requestId = newRequestId()
  c.set('requestId', requestId)
  c.header('x-request-id', requestId)
  c.set('timings', [])
  c.set('platform', platformOf(c.env))
  await next()
  c.header('x-request-id', requestId)
})
