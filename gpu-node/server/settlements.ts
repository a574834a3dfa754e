import { parseRequest } from '../../shared/api/parse.ts'
import { SettlementsRequest, type SettlementsResponse } from '../../shared/settlement.ts'
import type { Settlements } from '../settlements/settlements.ts'
import type { Authorization } from './authorization.ts'
import { parseJson } from './request-body.ts'

const maxBytes = 256 * 1024

/** `POST /v1/settlements` tells the usage of a tenant's generations, and hears which of it is charged. */
export async function answerSettlements(
  request: Request,
  { authorization, settlements }: { authorization: Authorization; settlements: Settlements },
): Promise<SettlementsResponse> {
  const { body, claims } = await authorization.admit(request, { action: 'settlements', maxBytes })
  return settlements.answer(parseRequest(SettlementsRequest, parseJson(body.bytes)), claims.sub)
}
