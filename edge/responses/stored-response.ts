import type { Context } from 'hono'
import type { z } from 'zod'
import type { MessageItem, ResponseObject } from '../../shared/api/responses.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TenantApp } from '../request-context.ts'

/** A message as conversations keep it. */
export type Said = Pick<z.infer<typeof MessageItem>, 'role' | 'content'>

/** A response with its conversation. */
export interface StoredResponse {
  readonly response: ResponseObject
  /** All that was said, the response's own text last. */
  readonly conversation: readonly Said[]
  /** Where in it this response's own input begins. */
  readonly inputFrom: number
}

/** The caller's own stored responses. */
export function ownResponses(c: Context<TenantApp>) {
  return c.get('platform').responses(c.get('tenant'), c.get('tenantRecord').createdAt)
}

/** Throws `not_found` for an id that no stored response of the tenant has. */
export async function storedResponse(
  id: string,
  { c, param }: { c: Context<TenantApp>; param: string },
): Promise<StoredResponse> {
  const stored = await ownResponses(c).find(id)
  if (stored === undefined) throw noResponse(id.slice(0, 64), param)
  return stored
}

export const noResponse = (id: string, param: string) =>
  new QuartetError(
    'not_found',
    `${param}: there is no stored response ${id}; one is kept for 30 days, unless it was made with store: false`,
    { param },
  )
