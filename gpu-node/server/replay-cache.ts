import { QuartetError } from '../../shared/errors.ts'

/** Longer than a verifier's clock tolerance. */
const graceSeconds = 10

/** Ids of tokens that were used and have not expired, so that each is used once. Bounded; full, it refuses. */
export class ReplayCache {
  readonly #most: number
  /** Expiry in seconds since 1970, in order of use. */
  readonly #used = new Map<string, number>()

  constructor(most = 200_000) {
    this.#most = most
  }

  /** Throws `invalid_node_token` for an id that was used before, `node_unavailable` when it cannot remember another. */
  use(jti: string, { expires, now = Date.now() / 1000 }: { expires: number; now?: number }): void {
    for (const [id, expiry] of this.#used) {
      if (expiry + graceSeconds > now) break
      this.#used.delete(id)
    }
    if (this.#used.has(jti)) throw new QuartetError('invalid_node_token', 'the node token was used before')
    if (this.#used.size >= this.#most)
      throw new QuartetError('node_unavailable', 'the node has too many calls to tell apart; retry')
    this.#used.set(jti, expires)
  }
}
