import type { Item, ResponseObject } from '../../shared/api/responses.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Platform } from '../platform.ts'

/** An item as conversations keep it: a message, a call or its result. */
export type Said =
  | Pick<Extract<Item, { type: 'message' }>, 'role' | 'content'>
  | Pick<Extract<Item, { type: 'function_call' }>, 'type' | 'call_id' | 'name' | 'arguments'>
  | Pick<Extract<Item, { type: 'function_call_output' }>, 'type' | 'call_id' | 'output'>

/** A response with its conversation. */
export interface StoredResponse {
  readonly response: ResponseObject
  /** All that was said, the response's own output last. */
  readonly conversation: readonly Said[]
  /** Where in it this response's own input begins. */
  readonly inputFrom: number
  /** How many items at its end the response put out; absent means one. */
  readonly outputs?: number
}

/** A tenant's stored responses. */
export type StoredResponses = ReturnType<Platform['responses']>

/** Throws `not_found` for an id that no stored response of the tenant has. */
export async function storedResponse(
  id: string,
  { own, param }: { own: Pick<StoredResponses, 'find'>; param: string },
): Promise<StoredResponse> {
  const stored = await own.find(id)
  if (stored === undefined) throw noResponse(id.slice(0, 64), param)
  return stored
}

export const noResponse = (id: string, param: string) =>
  new QuartetError(
    'not_found',
    `${param}: there is no stored response ${id}; one is kept for 30 days, unless it was made with store: false`,
    { param },
  )
