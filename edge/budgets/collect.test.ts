import { env } from 'cloudflare:workers'
import { beforeEach, expect, test } from 'vitest'
import { NodeId } from '../../shared/heartbeat.ts'
import { TenantId } from '../../shared/ids.ts'
import { nodeTokenKey } from '../../shared/node-token.ts'
import { stubs } from '../../test/edge/edge.ts'
import { settlementsAt } from './collect.ts'

const [node, other] = stubs.addresses()
if (node === undefined) throw new Error('there is no stub node')
const ask = () =>
  settlementsAt(
    { ...node, id: NodeId.parse(node.id) },
    {
      nodeKey: nodeTokenKey(env.QUARTET_NODE_SECRET),
      tenant: TenantId.parse('acme'),
      request: { acknowledge: [], collect: [] },
    },
  )

beforeEach(() => stubs.behave({ tokens: [] }))

test('a node is asked for settlements', async () => {
  expect(await ask()).toEqual({ settlements: [], running: [] })
})

test('a node that redirects is not followed', async () => {
  const location = `${other?.url}/v1/settlements`
  await stubs.behaveAt(node, { tokens: [], refuseSettlements: { status: 307, code: 'moved', location } })
  await expect(ask()).rejects.toThrow(/^307 from /)
})

test('an answer without end is read no further than settlements take', async () => {
  const refuseSettlements = { status: 200, code: 'none', endless: true }
  await stubs.behaveAt(node, { tokens: [], refuseSettlements })
  await expect(ask()).rejects.toThrow(/^more than 1048576 bytes from /)
})
