import { DurableObject } from 'cloudflare:workers'
import { within } from './within.ts'

/** An answer, sealed with the request's key (idempotency.ts). */
export type SealedAnswer = Uint8Array<ArrayBuffer>

export type IdempotencyState =
  /** The key is new: act, then call `finish`, `lose` or `forget`. */
  | { readonly kind: 'first' }
  | { readonly kind: 'answered'; readonly answer: SealedAnswer }
  /** The key was used for something else. */
  | { readonly kind: 'other' }
  /** The first is taking too long, or ended without an answer. */
  | { readonly kind: 'unknown' }

const keptMs = 24 * 3_600_000
const patienceMs = 30_000

/** One per Idempotency-Key of a caller: the request with this key, and its answer. */
export class IdempotentCall extends DurableObject {
  readonly #sql: SqlStorage
  #settled: PromiseWithResolvers<void> | undefined

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
  }

  /** Waits for the first with the same fingerprint to be answered, unless told not to. */
  async begin(
    fingerprint: string,
    { waitMs = patienceMs }: { waitMs?: number } = {},
  ): Promise<IdempotencyState> {
    for (const deadline = Date.now() + waitMs; ; ) {
      this.#sql.exec('CREATE TABLE IF NOT EXISTS call (fingerprint TEXT NOT NULL, answer BLOB) STRICT')
      const call = this.#call()
      if (call === undefined) {
        this.#sql.exec('INSERT INTO call VALUES (?, NULL)', fingerprint)
        this.#settled = Promise.withResolvers()
        await this.ctx.storage.setAlarm(Date.now() + keptMs)
        return { kind: 'first' }
      }
      if (call.fingerprint !== fingerprint) return { kind: 'other' }
      if (call.answer !== null) return { kind: 'answered', answer: new Uint8Array(call.answer) }
      if (waitMs === 0 || this.#settled === undefined) return { kind: 'unknown' }
      const work = this.#settled.promise.then(() => true)
      if (!(await within(deadline - Date.now(), { work, late: () => false }))) return { kind: 'unknown' }
    }
  }

  async finish(answer: SealedAnswer): Promise<void> {
    this.#sql.exec('UPDATE call SET answer = ?', answer.buffer)
    this.#settle()
  }

  /** Whether anything was done is not known: the key stays used, without an answer. */
  async lose(): Promise<void> {
    this.#settle()
  }

  /** Nothing was done: the same key may be used again, and nothing is left of the call. */
  async forget(): Promise<void> {
    await this.ctx.storage.deleteAlarm()
    await this.ctx.storage.deleteAll()
    this.#settle()
  }

  override alarm(): Promise<void> {
    return this.forget()
  }

  #settle(): void {
    this.#settled?.resolve()
    this.#settled = undefined
  }

  #call(): { fingerprint: string; answer: ArrayBuffer | null } | undefined {
    return this.#sql
      .exec<{ fingerprint: string; answer: ArrayBuffer | null }>('SELECT * FROM call')
      .toArray()[0]
  }
}
