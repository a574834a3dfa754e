import { errors, jwtVerify, SignJWT } from 'jose'
import { z } from 'zod'
import { QuartetError } from './errors.ts'
import { NodeId } from './heartbeat.ts'

/**
 * The token of a heartbeat: a JWT (RFC 7519, HS256) under the secret that edges and nodes share. It is for one edge and
 * one body, and it is valid once. A heartbeat's own instance id and sequence tell it from every other of the registry's
 * epoch, and the epoch from those of earlier ones, so that a replay is refused without trusting any clock and without
 * the registry having to remember tokens over its restarts. The expiry is a second bar.
 */
export const HeartbeatClaims = z.object({
  sub: NodeId,
  iat: z.number(),
  exp: z.number(),
  /** The registry's epoch as the node last heard it; empty in its first heartbeat. */
  epoch: z.string().max(64),
  /** SHA-256 of the body, hex. */
  body: z.string().regex(/^[0-9a-f]{64}$/),
})
export type HeartbeatClaims = z.infer<typeof HeartbeatClaims>

const heartbeatTokenSeconds = 30
/** How far a node's clock may be off the edge's, either way. */
export const heartbeatClockSeconds = 300

const issuer = 'quartet-node'
/** An edge goes by the host that nodes reach it at. */
const audienceOf = (edge: string) => `quartet-edge/${new URL(edge).host}`

export interface HeartbeatGrant {
  /** URL of the edge that may take it. */
  readonly edge: string
  readonly node: NodeId
  readonly epoch: string
  readonly body: string
  readonly now?: Date
}

export function signHeartbeat(
  key: Uint8Array,
  { edge, node, epoch, body, now = new Date() }: HeartbeatGrant,
): Promise<string> {
  const seconds = Math.floor(now.getTime() / 1000)
  return new SignJWT({ epoch, body })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(node)
    .setIssuer(issuer)
    .setAudience(audienceOf(edge))
    .setIssuedAt(seconds)
    .setExpirationTime(seconds + heartbeatTokenSeconds)
    .sign(key)
}

const clockRemedy = `set the node's clock (it may be off by ${heartbeatClockSeconds} s), or send the heartbeat anew`

/** Claims of a genuine, unexpired token for the edge that was asked at this URL. Throws `invalid_node_token`. */
export async function verifyHeartbeat(
  key: Uint8Array,
  { edge, token }: { edge: string; token: string },
): Promise<HeartbeatClaims> {
  const claims = await jwtVerify(token, key, {
    issuer,
    audience: audienceOf(edge),
    algorithms: ['HS256'],
    clockTolerance: heartbeatClockSeconds,
  }).then(
    ({ payload }) => HeartbeatClaims.safeParse(payload).data,
    (cause: unknown) => {
      if (cause instanceof errors.JWTExpired)
        throw new QuartetError('invalid_node_token', `the heartbeat's token has expired; ${clockRemedy}`)
      if (cause instanceof errors.JWTClaimValidationFailed && cause.claim === 'aud')
        throw new QuartetError(
          'invalid_node_token',
          `the heartbeat's token is for another edge than ${new URL(edge).host}; a proxy between must keep the Host header`,
        )
    },
  )
  if (claims === undefined)
    throw new QuartetError(
      'invalid_node_token',
      "the heartbeat's token is not valid; check QUARTET_NODE_SECRET",
    )
  if (claims.exp - claims.iat > heartbeatTokenSeconds)
    throw new QuartetError(
      'invalid_node_token',
      `the heartbeat's token is good for more than ${heartbeatTokenSeconds} seconds`,
    )
  if (claims.iat > Date.now() / 1000 + heartbeatClockSeconds)
    throw new QuartetError('invalid_node_token', `the heartbeat's token is from the future; ${clockRemedy}`)
  return claims
}
