import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { sha256Hex } from '../../shared/digest.ts'
import { type ErrorCode, isErrorCode, QuartetError } from '../../shared/errors.ts'
import { AdapterDigest } from '../../shared/ids.ts'
import {
  type ClaimRequest,
  ClaimResponse,
  type TrainerId,
  TrainerOrder,
  type TrainerReport,
  type TrainingWork,
} from '../../shared/training/trainer-protocol.ts'
import { signTrainerToken } from '../../shared/training/trainer-token.ts'

export interface EdgeClientOptions {
  readonly edge: string
  /** Shared with the edge (`nodeTokenKey`). */
  readonly key: Uint8Array
  readonly trainer: TrainerId
  /** Waits between two tries, in milliseconds. */
  readonly backoffMs?: readonly number[]
}

/** A job that a trainer has a lease on. */
export type HeldJob = Pick<TrainingWork, 'fence' | 'job' | 'tenant'>

interface Call {
  readonly method: 'GET' | 'POST' | 'PUT'
  readonly path: string
  readonly body?: Uint8Array<ArrayBuffer>
  readonly fence?: number
  readonly signal?: AbortSignal | undefined
}

const Failure = z.object({ error: z.object({ message: z.string(), code: z.string() }) })
const Published = z.object({ digest: AdapterDigest })
const defaultBackoffMs = [250, 500, 1_000, 2_000, 4_000, 8_000]
const callTimeoutMs = 120_000

/**
 * A trainer's calls to the edge. A call that failed on the way or with a 5xx is tried again; a call that arrives twice
 * changes the same as one that arrives once.
 */
export class EdgeClient {
  readonly #options: EdgeClientOptions

  constructor(options: EdgeClientOptions) {
    this.#options = options
  }

  async claim(request: ClaimRequest, signal?: AbortSignal): Promise<TrainingWork | null> {
    const { work } = ClaimResponse.parse(
      await this.#json({ method: 'POST', path: '/fleet/v1/training/claim', body: encoded(request), signal }),
    )
    return work
  }

  async report(work: HeldJob, report: TrainerReport): Promise<TrainerOrder['order']> {
    const answer = await this.#json({ ...this.#of(work, 'report'), method: 'POST', body: encoded(report) })
    return TrainerOrder.parse(answer).order
  }

  /** A file of the job: `training-file`, `validation-file`, `checkpoint`, `adapter`. */
  async read(work: HeldJob, what: 'training-file' | 'validation-file' | 'checkpoint' | 'adapter') {
    const response = await this.#send({ ...this.#of(work, what), method: 'GET' })
    return new Uint8Array(await response.arrayBuffer())
  }

  async putCheckpoint(
    work: HeldJob,
    {
      bytes,
      step,
      validLoss,
    }: {
      readonly bytes: Uint8Array<ArrayBuffer>
      readonly step: number
      readonly validLoss: number | undefined
    },
  ): Promise<void> {
    const query = new URLSearchParams({
      step: String(step),
      ...(validLoss === undefined ? {} : { valid_loss: String(validLoss) }),
    })
    await this.#send({ ...this.#of(work, `checkpoint?${query}`), method: 'PUT', body: bytes })
  }

  async putAdapter(work: HeldJob, bytes: Uint8Array<ArrayBuffer>): Promise<AdapterDigest> {
    const answer = await this.#json({ ...this.#of(work, 'adapter'), method: 'PUT', body: bytes })
    return Published.parse(answer).digest
  }

  #of({ fence, job, tenant }: HeldJob, what: string): Pick<Call, 'path' | 'fence'> {
    return { path: `/fleet/v1/training/${tenant}/${job}/${what}`, fence }
  }

  async #json(call: Call): Promise<unknown> {
    return (await this.#send(call)).json()
  }

  async #send(call: Call): Promise<Response> {
    const waits = this.#options.backoffMs ?? defaultBackoffMs
    for (let attempt = 0; ; attempt++) {
      const wait = waits[attempt]
      try {
        return await this.#once(call)
      } catch (thrown) {
        call.signal?.throwIfAborted()
        const isFinal =
          thrown instanceof QuartetError && thrown.status < 500 && thrown.code !== 'rate_limited'
        if (isFinal || wait === undefined) throw thrown
        await delay(wait, undefined, { signal: call.signal })
      }
    }
  }

  async #once({ body, fence, method, path, signal }: Call): Promise<Response> {
    const { edge, key, trainer } = this.#options
    const url = new URL(path, edge).href
    const token = await signTrainerToken(key, { url, method, trainer, body: await sha256Hex(body ?? '') })
    const timeout = AbortSignal.timeout(callTimeoutMs)
    const response = await fetch(url, {
      method,
      body: body ?? null,
      headers: {
        authorization: `Bearer ${token}`,
        ...(fence === undefined ? {} : { 'x-quartet-fence': String(fence) }),
      },
      redirect: 'error',
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    })
    if (response.ok) return response
    const told = Failure.safeParse(await response.json().catch(() => undefined))
    const code: ErrorCode =
      told.success && isErrorCode(told.data.error.code) ? told.data.error.code : 'internal_error'
    throw new QuartetError(
      code,
      told.success ? told.data.error.message : `the edge answered ${response.status}`,
    )
  }
}

const encoded = (value: unknown): Uint8Array<ArrayBuffer> => new TextEncoder().encode(JSON.stringify(value))
