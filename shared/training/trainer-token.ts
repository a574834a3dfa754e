import { jwtVerify, SignJWT } from 'jose'
import { z } from 'zod'
import { QuartetError } from '../errors.ts'
import { TrainerId } from './trainer-protocol.ts'

/**
 * The token of a trainer's call to an edge: a JWT (RFC 7519, HS256) under the secret that the edge shares with nodes
 * and trainers. It is for one edge, one method and path, and one body. A call that is sent twice changes nothing, as
 * each names its job's fence and step.
 */
const Claims = z.object({
  sub: TrainerId,
  iat: z.number(),
  exp: z.number(),
  /** `PUT /fleet/v1/training/…`. */
  call: z.string().max(512),
  /** SHA-256 of the body, hex. A call without a body has that of the empty string. */
  body: z.string().regex(/^[0-9a-f]{64}$/),
})

const trainerTokenSeconds = 60
/** How far a trainer's clock may be off the edge's, either way. */
const clockSeconds = 300

const issuer = 'quartet-trainer'
const audienceOf = (edge: string) => `quartet-edge/${new URL(edge).host}`

export interface TrainerCall {
  /** The whole URL that is called. */
  readonly url: string
  readonly method: string
}

const callOf = ({ method, url }: TrainerCall) => `${method} ${new URL(url).pathname}${new URL(url).search}`

export function signTrainerToken(
  key: Uint8Array,
  { body, trainer, ...call }: TrainerCall & { readonly trainer: TrainerId; readonly body: string },
): Promise<string> {
  return new SignJWT({ call: callOf(call), body })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(trainer)
    .setIssuer(issuer)
    .setAudience(audienceOf(call.url))
    .setIssuedAt()
    .setExpirationTime(`${trainerTokenSeconds}s`)
    .sign(key)
}

/** Who calls, and the hash that the body must have. Throws `invalid_node_token`. */
export async function verifyTrainerToken(
  key: Uint8Array,
  { token, ...call }: TrainerCall & { readonly token: string },
): Promise<{ readonly trainer: TrainerId; readonly body: string }> {
  const refuse = (why: string, cause?: unknown) =>
    new QuartetError('invalid_node_token', `the trainer's token ${why}`, { cause })
  const { payload } = await jwtVerify(token, key, {
    algorithms: ['HS256'],
    issuer,
    audience: audienceOf(call.url),
    clockTolerance: clockSeconds,
    requiredClaims: ['exp', 'iat'],
  }).catch((cause: unknown) => {
    throw refuse(
      'is forged, expired or for another edge; check that both have the same QUARTET_NODE_SECRET',
      cause,
    )
  })
  const claims = Claims.safeParse(payload)
  if (!claims.success) throw refuse('lacks what it must say')
  const { exp, iat } = claims.data
  if (exp - iat > trainerTokenSeconds || iat > Date.now() / 1000 + clockSeconds)
    throw refuse('lives too long')
  if (claims.data.call !== callOf(call)) throw refuse('is for another call')
  return { trainer: claims.data.sub, body: claims.data.body }
}
