import type { AliasName, RequestId } from '../../shared/ids.ts'
import { scorer } from '../routing/rendezvous.ts'
import type { AliasRecord, AliasTarget } from '../store/records.ts'

export interface Asker {
  readonly requestId: RequestId
  /** The request's `user`, if it names one; an empty one is none. */
  readonly user: string | undefined
}

/**
 * The adapter that a request to an alias takes. A canary by user takes the same users each time, and keeps them when its
 * share grows; a request that names no user counts as one of its own.
 */
export function chooseTarget(alias: AliasName, record: AliasRecord, { requestId, user }: Asker): AliasTarget {
  const { canary } = record
  if (canary === undefined) return record
  const who = canary.by === 'user' && user ? `user\n${user}` : `request\n${requestId}`
  const at = scorer(`${alias}\n${canary.digest}`)({ id: who }) / 2 ** 32
  return at < canary.percent / 100 ? canary : record
}

/** Whether a request is among those that an alias's shadow answers too. */
export function isShadowed(
  requestId: RequestId,
  {
    alias,
    digest,
    percent,
  }: { readonly alias: AliasName; readonly digest: string; readonly percent: number },
): boolean {
  return scorer(`${alias}\nshadow\n${digest}`)({ id: requestId }) / 2 ** 32 < percent / 100
}
