import { createMiddleware } from 'hono/factory'
import { StoredPurpose } from '../../shared/api/files.ts'
import type { Scope, Scopes } from '../../shared/api/scopes.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TenantApp } from '../request-context.ts'

/** The scopes that open a route to a key that has any of them. */
export type RouteScopes = readonly [Scope, ...Scope[]]

/** Refuses a key that has none of the scopes, before anything else of the request is read. `route`: `GET /v1/models`. */
export const requireScopes = (wanted: RouteScopes, route: string) =>
  createMiddleware<TenantApp>(async (c, next) => {
    const check = () => requireScope(c.get('scopes'), { wanted, what: route })
    check()
    const letInAnew = c.get('letInAnew')
    if (letInAnew !== undefined)
      c.set('letInAnew', async () => {
        await letInAnew()
        check()
      })
    await next()
  })

/** The scope that a file's purpose wants. */
const purposeScopes: Readonly<Record<StoredPurpose, Scope>> = {
  'fine-tune': 'train',
  batch: 'inference',
  batch_output: 'inference',
}

/** Throws `missing_scope` unless a key of these scopes has one of the `wanted`. */
function requireScope(
  scopes: Scopes,
  { wanted, what }: { readonly wanted: readonly Scope[]; readonly what: string },
): void {
  if (scopes === null || wanted.some((scope) => scopes.includes(scope))) return
  throw new QuartetError(
    'missing_scope',
    `${what} needs the scope ${wanted.join(' or ')}; this key has only ${scopes.join(', ')}: use another key, or ask the operator to change this one's scopes`,
  )
}

/** Throws `missing_scope` unless the key may change files of this purpose, or with `isRead` look at them. */
export function requirePurpose(
  scopes: Scopes,
  { isRead, purpose }: { readonly purpose: StoredPurpose; readonly isRead: boolean },
): void {
  requireScope(scopes, {
    wanted: [purposeScopes[purpose], ...(isRead ? (['read-only'] as const) : [])],
    what: `a file of the purpose ${purpose}`,
  })
}

/** The purposes of the files that a key may look at. */
export const readablePurposes = (scopes: Scopes): readonly StoredPurpose[] =>
  StoredPurpose.options.filter(
    (purpose) => scopes === null || scopes.includes('read-only') || scopes.includes(purposeScopes[purpose]),
  )
