import { expect, it } from 'vitest'
import { sha256Hex } from '../../shared/digest.ts'
import { NodeId } from '../../shared/heartbeat.ts'
import { newRequestId, TenantId } from '../../shared/ids.ts'
import { nodeTokenKey, signNodeToken } from '../../shared/node-token.ts'
import { EdgeClock } from '../fleet/edge-clock.ts'
import { Authorization } from './authorization.ts'

const key = nodeTokenKey('s'.repeat(32))

const node = NodeId.parse('node-1')

async function call(given: NodeId = node): Promise<Request> {
  const token = await signNodeToken(key, {
    node: given,
    tenant: TenantId.parse('t'),
    act: 'info',
    rid: newRequestId(),
    adapter: null,
    body: await sha256Hex(''),
  })
  return new Request('http://node/v1/node', { headers: { authorization: `Bearer ${token}` } })
}

const info = { action: 'info', maxBytes: 0 } as const

it('lets in an edge’s call on a node whose clock is minutes off, once a heartbeat has told it the edge’s', async () => {
  for (const minutes of [-4, 4]) {
    const own = () => Date.now() + minutes * 60_000
    const clock = new EdgeClock(own)
    const authorization = new Authorization({ key, node: () => node, now: clock.now })
    if (minutes > 0)
      await expect(authorization.admit(await call(), info)).rejects.toThrow('the node token has expired')
    clock.heard(Date.now(), own())
    await expect(authorization.admit(await call(), info)).resolves.toMatchObject({ claims: { act: 'info' } })
  }
})

it('lets a call in once, whatever the clocks', async () => {
  const clock = new EdgeClock(() => Date.now() + 200_000)
  clock.heard(Date.now(), Date.now() + 200_000)
  const authorization = new Authorization({ key, node: () => node, now: clock.now })
  const request = await call()
  await authorization.admit(request.clone(), info)
  await expect(authorization.admit(request, info)).rejects.toThrow('used before')
})

it('lets no call in that was made for another node, nor uses it up', async () => {
  const request = await call(NodeId.parse('node-2'))
  const here = new Authorization({ key, node: () => node })
  await expect(here.admit(request.clone(), info)).rejects.toMatchObject({
    code: 'invalid_node_token',
    message: expect.stringMatching(/for another node than node-1; start this one with the --id/),
  })
  const there = new Authorization({ key, node: () => NodeId.parse('node-2') })
  await expect(there.admit(request, info)).resolves.toMatchObject({ claims: { act: 'info' } })
})
