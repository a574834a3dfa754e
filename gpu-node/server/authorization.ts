import { QuartetError } from '../../shared/errors.ts'
import type { NodeId } from '../../shared/heartbeat.ts'
import { type NodeTokenClaims, verifyNodeToken } from '../../shared/node-token.ts'
import { ReplayCache } from './replay-cache.ts'
import { type RequestBody, readBody } from './request-body.ts'

export interface AuthorizedCall {
  readonly claims: NodeTokenClaims
  readonly body: RequestBody
}

/** Lets calls in by their node token: signed, unexpired, for this node, this action and this body, and not seen before. */
export class Authorization {
  readonly #key: Uint8Array
  readonly #node: () => NodeId
  readonly #now: () => number
  readonly #replays = new ReplayCache()

  /** `node`: its name, known once it listens. `now`: the edges' clock, in milliseconds since 1970. */
  constructor({ key, node, now = Date.now }: { key: Uint8Array; node: () => NodeId; now?: () => number }) {
    this.#key = key
    this.#node = node
    this.#now = now
  }

  /**
   * Reads the call's body only once its token has proved genuine. The caller must compare the claims about the call's
   * own fields (request, adapter). Throws `invalid_node_token`, or what `readBody` throws.
   */
  async admit(
    request: Request,
    { action, maxBytes }: { action: NodeTokenClaims['act']; maxBytes: number },
  ): Promise<AuthorizedCall> {
    const [scheme, token] = request.headers.get('authorization')?.split(' ') ?? []
    if (scheme?.toLowerCase() !== 'bearer' || token === undefined)
      throw new QuartetError('invalid_node_token', 'the call carries no node token (authorization: Bearer …)')
    const claims = await verifyNodeToken(this.#key, token, { node: this.#node(), now: this.#now() })
    requireClaim(claims.act === action, 'action')
    const body = await readBody(request, maxBytes)
    requireClaim(claims.body === body.sha256, 'body')
    this.#replays.use(claims.jti, { expires: claims.exp, now: this.#now() / 1000 })
    return { claims, body }
  }
}

/** Throws `invalid_node_token` that names what a token was not made for. */
export function requireClaim(holds: boolean, what: 'action' | 'body' | 'request' | 'adapter'): void {
  if (!holds) throw new QuartetError('invalid_node_token', `the node token is for another ${what}`)
}
