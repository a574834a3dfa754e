import { createMiddleware } from 'hono/factory'
import type { App } from '../request-context.ts'

/** The page runs only its own script, calls only this edge, and cannot be framed. */
const contentSecurity = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** `/console/…`: the console's files, from the worker's static assets. */
export const consoleFiles = createMiddleware<App>(async (c, next) => {
  if (c.req.method !== 'GET' && c.req.method !== 'HEAD') return next()
  const file = await c.env.ASSETS.fetch(c.req.raw)
  if (file.status === 404) return next()
  const answer = new Response(file.body, file)
  answer.headers.set('content-security-policy', contentSecurity)
  answer.headers.set('referrer-policy', 'no-referrer')
  answer.headers.set('x-content-type-options', 'nosniff')
  answer.headers.set('cross-origin-opener-policy', 'same-origin')
  return answer
})
