import { SignJWT } from 'jose'
import { expect, test } from 'vitest'
import { NodeId } from './heartbeat.ts'
import { signHeartbeat, verifyHeartbeat } from './heartbeat-token.ts'

const key = new TextEncoder().encode('a secret of at least thirty-two bytes')
const edge = 'http://edge.example:8787/fleet/v1/heartbeat'
const claims = { epoch: 'one', body: 'ab'.repeat(32) }

test('a heartbeat that is good for longer than nodes make them is refused, genuine as it is', async () => {
  const node = NodeId.parse('node-1')
  const token = await signHeartbeat(key, { edge, node, ...claims })
  expect(await verifyHeartbeat(key, { edge, token })).toMatchObject(claims)
  const iat = Math.floor(Date.now() / 1000)
  const long = await new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(node)
    .setIssuer('quartet-node')
    .setAudience('quartet-edge/edge.example:8787')
    .setIssuedAt(iat)
    .setExpirationTime(iat + 86_400)
    .sign(key)
  await expect(verifyHeartbeat(key, { edge, token: long })).rejects.toThrow(/good for more than 30 seconds/)
})
