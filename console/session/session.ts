/** Who is signed in. A tenant's key opens `/v1`, the operator's admin key `/admin/v1`. */
export type Session =
  | { readonly kind: 'tenant'; readonly key: string }
  | { readonly kind: 'operator'; readonly key: string }

const slot = 'quartet.key'

/** Tenants' keys begin with this; whatever else is given is tried as the admin key. */
const tenantKeyPrefix = 'qk_'

export function sessionOf(key: string): Session {
  return { kind: key.startsWith(tenantKeyPrefix) ? 'tenant' : 'operator', key }
}

/** The tab's session. `sessionStorage` ends with the tab and is shared with no other. */
export function storedSession(): Session | undefined {
  const key = sessionStorage.getItem(slot)
  return key === null ? undefined : sessionOf(key)
}

export function storeSession(session: Session | undefined): void {
  if (session === undefined) sessionStorage.removeItem(slot)
  else sessionStorage.setItem(slot, session.key)
}
