import type { Context } from 'hono'
import { parseRequest } from '../../shared/api/parse.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import { Heartbeat, type HeartbeatResponse, maxHeartbeatBytes } from '../../shared/heartbeat.ts'
import { verifyHeartbeat } from '../../shared/heartbeat-token.ts'
import { parseUniqueNames } from '../../shared/unique-names.ts'
import { bearerToken } from '../auth/bearer.ts'
import { applySettlements } from '../budgets/apply-settlements.ts'
import { parseJson, readBytes } from '../http/json-body.ts'
import type { App } from '../request-context.ts'

/**
 * `POST /fleet/v1/heartbeat`: a node says how it is. Nothing of the body is read before its token has proved genuine.
 * Throws `invalid_node_token`, `body_too_large`, `invalid_json`, what `parseRequest` throws, or `conflict` for a heartbeat
 * that was sent before or comes from a process that another one has replaced.
 */
export async function heartbeat(c: Context<App>): Promise<Response> {
  const { nodeKey, registry } = c.get('platform')
  const token = bearerToken(c.req.header('authorization'))
  if (token === undefined)
    throw new QuartetError('invalid_node_token', 'the heartbeat carries no token (authorization: Bearer …)')
  const claims = await verifyHeartbeat(nodeKey, { edge: c.req.url, token })
  const body = await readBytes(c.req.raw, maxHeartbeatBytes)
  if ((await sha256Hex(body)) !== claims.body)
    throw new QuartetError('invalid_node_token', "the heartbeat's token is for another body")
  const { settlements, ...status } = parseRequest(Heartbeat, parseJson(body, parseUniqueNames))
  if (status.node !== claims.sub)
    throw new QuartetError('invalid_node_token', "the heartbeat's token is for another node")

  const { epoch, outcome } = await registry().heartbeat(status, claims.epoch)
  const answer = (response: Omit<HeartbeatResponse, 'epoch' | 'time'>) =>
    c.json({ ...response, epoch, time: Date.now() } satisfies HeartbeatResponse)
  switch (outcome.kind) {
    case 'accepted':
      return answer({ accepted: true, acknowledged: await applySettlements(settlements, c.get('platform')) })
    case 'another-epoch':
      return answer({ accepted: false, acknowledged: [] })
    case 'out-of-order':
      throw new QuartetError('conflict', 'this heartbeat was sent before, or a later one has arrived')
    case 'replaced':
      throw new QuartetError(
        'conflict',
        `another process runs as node ${status.node} now; give each its own QUARTET_NODE_ID`,
      )
    case 'full':
      throw new QuartetError('node_unavailable', 'the registry holds as many nodes as it can')
  }
}
