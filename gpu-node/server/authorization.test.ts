import { expect, it } from 'vitest'
import { sha256Hex } from '../../shared/digest.ts'
import { newRequestId, TenantId } from '../../shared/ids.ts'
import { nodeTokenKey, signNodeToken } from '../../shared/node-token.ts'
import { EdgeClock } from '../fleet/edge-clock.ts'
import { Authorization } from './authorization.ts'

const key = nodeTokenKey('s'.repeat(32))

async function call(): Promise<Request> {
  const token = await signNodeToken(key, {
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
    const authorization = new Authorization(key, clock.now)
    if (minutes > 0)
      await expect(authorization.admit(await call(), info)).rejects.toThrow('the node token has expired')
    clock.heard(Date.now(), own())
    await expect(authorization.admit(await call(), info)).resolves.toMatchObject({ claims: { act: 'info' } })
  }
})

it('lets a call in once, whatever the clocks', async () => {
  const clock = new EdgeClock(() => Date.now() + 200_000)
  clock.heard(Date.now(), Date.now() + 200_000)
  const authorization = new Authorization(key, clock.now)
  const request = await call()
  await authorization.admit(request.clone(), info)
  await expect(authorization.admit(request, info)).rejects.toThrow('used before')
})
