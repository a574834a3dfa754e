import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sha256Hex } from '../../shared/digest.ts'
import { NodeId } from '../../shared/heartbeat.ts'
import { newRequestId } from '../../shared/ids.ts'
import { nodeTokenKey, signNodeToken } from '../../shared/node-token.ts'
import { tinyAdapter } from '../fakes/tiny-adapter.ts'
import {
  digestOf,
  emptyHash,
  fakeNode,
  generateRequest,
  key,
  nodeId,
  refusal,
  tenant,
} from './node-client.ts'

let node: Awaited<ReturnType<typeof fakeNode>>

beforeAll(async () => {
  node = await fakeNode()
})
afterAll(() => node.close())

describe('a node token', () => {
  const forged = nodeTokenKey('another secret, as long as the real one')

  it('is required', async () => {
    const response = await fetch(`${node.url}/v1/generate`, { method: 'POST', body: '{}' })
    expect(await refusal(response)).toMatchObject({ status: 401, code: 'invalid_node_token' })
    const basic = await fetch(`${node.url}/v1/node`, { headers: { authorization: 'Basic YTpi' } })
    expect(await refusal(basic)).toMatchObject({ status: 401 })
  })

  it('that is forged, expired or unsigned opens nothing', async () => {
    const request = generateRequest()
    const body = JSON.stringify(request)
    const claims = {
      act: 'generate' as const,
      rid: request.requestId,
      adapter: null,
      body: await sha256Hex(body),
    }
    const jwt = (alg: string) =>
      new SignJWT({ ...claims }).setProtectedHeader({ alg }).setSubject(tenant).setJti('j'.repeat(36))
    const issued = (token: SignJWT) => token.setIssuer('quartet-edge').setAudience(`quartet-node/${nodeId}`)
    const tokens = {
      forged: await signNodeToken(forged, { node: nodeId, tenant, ...claims }),
      'for another node': await signNodeToken(key, { node: NodeId.parse('another'), tenant, ...claims }),
      expired: await issued(jwt('HS256')).setExpirationTime('-10s').sign(key),
      endless: await issued(jwt('HS256')).sign(key),
      'for another audience': await jwt('HS256')
        .setExpirationTime('1m')
        .setIssuer('quartet-edge')
        .setAudience('x')
        .sign(key),
      unsigned: `${btoa('{"alg":"none"}').replaceAll('=', '')}.${btoa(JSON.stringify({ ...claims, sub: tenant })).replaceAll('=', '')}.`,
    }
    for (const [what, token] of Object.entries(tokens)) {
      const response = await fetch(`${node.url}/v1/generate`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}` },
        body,
      })
      expect(await refusal(response), what).toMatchObject({ status: 401, code: 'invalid_node_token' })
    }
  })

  it('works once', async () => {
    const headers = await node.bearer({})
    expect((await fetch(`${node.url}/v1/node`, { headers })).status).toBe(200)
    expect(await refusal(await fetch(`${node.url}/v1/node`, { headers }))).toMatchObject({ status: 401 })
  })

  it('opens only the action, request, adapter and body it was made for', async () => {
    const adapter = await digestOf(tinyAdapter({ seed: 7 }))
    for (const claims of [
      { act: 'put-adapter' as const },
      { rid: newRequestId() },
      { adapter },
      { body: emptyHash },
    ])
      expect(await refusal(await node.generate({}, { claims })), JSON.stringify(claims)).toMatchObject({
        status: 401,
        code: 'invalid_node_token',
      })
    const file = tinyAdapter({ seed: 8 })
    for (const claims of [{ act: 'generate' as const }, { adapter }, { adapter: null }, { body: emptyHash }])
      expect(await refusal(await node.putAdapter(file, { claims })), JSON.stringify(claims)).toMatchObject({
        status: 401,
        code: 'invalid_node_token',
      })
  })
})
