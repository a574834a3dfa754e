import { errors, jwtVerify, SignJWT } from 'jose'
import { z } from 'zod'
import { QuartetError } from './errors.ts'
import type { NodeId } from './heartbeat.ts'
import { AdapterDigest, RequestId, TenantId } from './ids.ts'
import { minNodeSecretBytes } from './node-secret.ts'

/**
 * The token of an edge's call to a node: a JWT (RFC 7519, HS256) under the secret that edge and node share. It is valid
 * for a minute, for one node (`aud`), one action of one tenant on one adapter and one body, once (`jti`).
 */
export const NodeTokenClaims = z.object({
  sub: TenantId,
  /** When the tenant was created, in milliseconds since 1970: a later one of the same name has nothing of an earlier one's. */
  tenancy: z.int().min(0).optional(),
  jti: z.string().min(16).max(64),
  iat: z.number(),
  exp: z.number(),
  act: z.enum(['generate', 'put-adapter', 'info', 'settlements']),
  /** The request this call serves. */
  rid: RequestId,
  /** The adapter this call may touch; null for the untuned backbone. */
  adapter: AdapterDigest.nullable(),
  /** The adapters stacked behind it. */
  behind: z.array(AdapterDigest).optional(),
  /** SHA-256 of the request body, hex. A call without a body has that of the empty string. */
  body: z.string().regex(/^[0-9a-f]{64}$/),
})
export type NodeTokenClaims = z.infer<typeof NodeTokenClaims>

export type NodeTokenGrant = Omit<NodeTokenClaims, 'sub' | 'jti' | 'iat' | 'exp'> & {
  readonly tenant: TenantId
  /** The node that it opens, and no other. */
  readonly node: NodeId
}

const nodeTokenSeconds = 60
/** How far a node's clock may be behind the edge's. */
const maxClockLagSeconds = 300

const issuer = 'quartet-edge'
const audienceOf = (node: NodeId) => `quartet-node/${node}`

/** The shared secret as HMAC key. Throws when it is shorter than 32 bytes. */
export function nodeTokenKey(secret: string): Uint8Array {
  const key = new TextEncoder().encode(secret)
  if (key.length < minNodeSecretBytes)
    throw new QuartetError('internal_error', `the node secret must have at least ${minNodeSecretBytes} bytes`)
  return key
}

export function signNodeToken(key: Uint8Array, grant: NodeTokenGrant): Promise<string> {
  const { node, tenant, ...claims } = grant
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(tenant)
    .setIssuer(issuer)
    .setAudience(audienceOf(node))
    .setJti(crypto.randomUUID())
    .setIssuedAt()
    .setExpirationTime(`${nodeTokenSeconds}s`)
    .sign(key)
}

/** The node that checks a token. */
export interface NodeTokenCheck {
  readonly node: NodeId
  /** Milliseconds since 1970; by default the clock's. */
  readonly now?: number
}

/** Claims of a valid token. Throws `invalid_node_token` otherwise; single use of `jti` is the caller's to check. */
export async function verifyNodeToken(
  key: Uint8Array,
  token: string,
  { node, now = Date.now() }: NodeTokenCheck,
): Promise<NodeTokenClaims> {
  try {
    const { payload } = await jwtVerify(token, key, {
      issuer,
      audience: audienceOf(node),
      algorithms: ['HS256'],
      clockTolerance: 5,
      currentDate: new Date(now),
    })
    const claims = NodeTokenClaims.parse(payload)
    const isTooLong =
      claims.exp - claims.iat > nodeTokenSeconds ||
      claims.exp - now / 1000 > nodeTokenSeconds + maxClockLagSeconds
    if (isTooLong) throw new LivesTooLong()
    return claims
  } catch (cause) {
    throw new QuartetError('invalid_node_token', faultOf(cause, node), { cause })
  }
}

/** A token says itself how long it is good for; a node takes none that is good for longer than an edge makes them. */
class LivesTooLong extends Error {}

function faultOf(cause: unknown, node: NodeId): string {
  if (cause instanceof LivesTooLong) return `the node token is good for more than ${nodeTokenSeconds} seconds`
  if (cause instanceof errors.JWTExpired) return 'the node token has expired'
  if (cause instanceof errors.JWTClaimValidationFailed && cause.claim === 'aud')
    return `the node token is for another node than ${node}; start this one with the --id that the edge knows it by (QUARTET_NODES)`
  return 'the node token is not valid'
}
