import type { KeyId } from '../../shared/ids.ts'

/** Who changes something. */
export type Actor = { readonly kind: 'admin' } | { readonly kind: 'key'; readonly keyId: KeyId }

/** As the audit log and a deployment's history know them. */
export const actorName = (actor: Actor): string => (actor.kind === 'admin' ? 'admin' : actor.keyId)
