import { SignJWT } from 'jose'
import { afterEach, expect, test, vi } from 'vitest'
import { sha256Hex } from './digest.ts'
import { NodeId } from './heartbeat.ts'
import { newRequestId, TenantId } from './ids.ts'
import { type NodeTokenGrant, nodeTokenKey, signNodeToken, verifyNodeToken } from './node-token.ts'

const key = nodeTokenKey('a secret of at least thirty-two bytes')
const node = NodeId.parse('node-1')
const grant: NodeTokenGrant = {
  node,
  tenant: TenantId.parse('acme'),
  act: 'generate',
  rid: newRequestId(),
  adapter: null,
  body: await sha256Hex('{}'),
}

afterEach(() => {
  vi.useRealTimers()
})

test('a token carries its grant and is different each time', async () => {
  const token = await signNodeToken(key, grant)
  const { node: _, tenant, ...rest } = grant
  expect(await verifyNodeToken(key, token, { node })).toMatchObject({ sub: tenant, ...rest })
  expect(await signNodeToken(key, grant)).not.toBe(token)
})

test('another secret, a changed token and an unsigned one are refused alike', async () => {
  const token = await signNodeToken(key, grant)
  const [header, payload, signature] = token.split('.')
  const none = btoa(JSON.stringify({ alg: 'none' })).replaceAll('=', '')
  const forged = [
    await signNodeToken(nodeTokenKey('b secret of at least thirty-two bytes'), grant),
    `${header}.${payload}.${signature?.startsWith('A') ? 'B' : 'A'}${signature?.slice(1)}`,
    `${none}.${payload}.`,
    '',
    'nonsense',
  ]
  for (const bad of forged)
    await expect(verifyNodeToken(key, bad, { node })).rejects.toMatchObject({
      code: 'invalid_node_token',
      message: 'the node token is not valid',
    })
})

test('a token for another node is refused, and says so', async () => {
  const token = await signNodeToken(key, { ...grant, node: NodeId.parse('node-10') })
  await expect(verifyNodeToken(key, token, { node })).rejects.toMatchObject({
    code: 'invalid_node_token',
    message: expect.stringMatching(/another node than node-1;/),
  })
})

test('a token for another audience is refused', async () => {
  const token = await new SignJWT({ ...grant })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuer('quartet-edge')
    .setAudience('elsewhere')
    .setExpirationTime('1h')
    .sign(key)
  await expect(verifyNodeToken(key, token, { node })).rejects.toMatchObject({ code: 'invalid_node_token' })
})

test('a token dies after its minute', async () => {
  const token = await signNodeToken(key, grant)
  vi.useFakeTimers({ now: Date.now() + 70_000 })
  await expect(verifyNodeToken(key, token, { node })).rejects.toThrow('the node token has expired')
})

test.each([
  ['for a year', 0, 365 * 86_400],
  ['for a minute, but next year', 365 * 86_400, 60],
  ['for a second longer than edges make them', 0, 61],
])('a token that is good %s is refused, genuine as it is', async (_name, from, seconds) => {
  const { node: _, tenant, ...claims } = grant
  const iat = Math.floor(Date.now() / 1000) + from
  const token = await new SignJWT({ ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(tenant)
    .setIssuer('quartet-edge')
    .setAudience('quartet-node/node-1')
    .setJti(crypto.randomUUID())
    .setIssuedAt(iat)
    .setExpirationTime(iat + seconds)
    .sign(key)
  await expect(verifyNodeToken(key, token, { node })).rejects.toThrow(/good for more than 60 seconds/)
})

test('a short secret is refused at the start', () => {
  expect(() => nodeTokenKey('short')).toThrow(/at least 32 bytes/)
})
