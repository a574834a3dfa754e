import { sha256Hex } from '../../shared/digest.ts'
import { newRequestId, TenantId } from '../../shared/ids.ts'
import type { NodeAddress } from '../../shared/node-address.ts'
import { signNodeToken } from '../../shared/node-token.ts'
import { NodeInfo } from '../../shared/wire.ts'

const answerMs = 1_000
/** A node asks every caller for a tenant; this one is none's. */
const tenant = TenantId.parse('trainer')

/** Whether any of the nodes has a request. One that cannot be reached has none; one that does not answer in time has. */
export async function hasRequests(nodes: readonly NodeAddress[], key: Uint8Array): Promise<boolean> {
  const body = await sha256Hex('')
  const asked = nodes.map(async ({ id, url }) => {
    const grant = { node: id, tenant, act: 'info', rid: newRequestId(), adapter: null, body } as const
    const authorization = `Bearer ${await signNodeToken(key, grant)}`
    try {
      const signal = AbortSignal.timeout(answerMs)
      const response = await fetch(`${url}/v1/node`, { headers: { authorization }, signal })
      const { running, waiting } = NodeInfo.parse(await response.json())
      return running + waiting > 0
    } catch (thrown) {
      return thrown instanceof DOMException && thrown.name === 'TimeoutError'
    }
  })
  return (await Promise.all(asked)).some(Boolean)
}
