import { throughClosedConnections } from '../../shared/closed-connection.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { newRequestId, type TenantId } from '../../shared/ids.ts'
import type { NodeAddress } from '../../shared/node-address.ts'
import { signNodeToken } from '../../shared/node-token.ts'
import { type SettlementsRequest, SettlementsResponse } from '../../shared/settlement.ts'
import { textUpTo } from '../http/text-up-to.ts'

const patienceMs = 3_000
/** The bound is above the size of as many settlements as one call may ask for. */
const maxAnswerBytes = 1024 * 1024

/** `POST /v1/settlements` of a node. Throws when it cannot be reached or does not answer as it should. */
export async function settlementsAt(
  { id, url }: NodeAddress,
  { nodeKey, request, tenant }: { nodeKey: Uint8Array; tenant: TenantId; request: SettlementsRequest },
): Promise<SettlementsResponse> {
  const body = JSON.stringify(request)
  const grant = {
    node: id,
    tenant,
    act: 'settlements',
    rid: newRequestId(),
    adapter: null,
    body: await sha256Hex(body),
  } as const
  const response = await throughClosedConnections(async () =>
    fetch(`${url}/v1/settlements`, {
      method: 'POST',
      redirect: 'manual',
      headers: {
        authorization: `Bearer ${await signNodeToken(nodeKey, grant)}`,
        'content-type': 'application/json',
      },
      body,
      signal: AbortSignal.timeout(patienceMs),
    }),
  )
  if (!response.ok) {
    await response.body?.cancel()
    throw new Error(`${response.status} from ${url}/v1/settlements`)
  }
  const { isWhole, text } = await textUpTo(maxAnswerBytes, response)
  if (!isWhole) throw new Error(`more than ${maxAnswerBytes} bytes from ${url}/v1/settlements`)
  return SettlementsResponse.parse(JSON.parse(text))
}
