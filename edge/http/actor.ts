import type { KeyId } from '../../shared/ids.ts'

/** Who changes something. */
export type Actor = { readonly kind: 'admin' } | { readonly kind: 'key'; readonly keyId: KeyId }

/** The actor's name in the audit log and in a deployment's history. */
export const actorName = (actor: Actor): string => (actor.kind === 'admin' ? 'admin' : actor.keyId)
