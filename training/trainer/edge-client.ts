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
  /** How long the edge may be silent before a call has failed; 120,000 when absent. */
  readonly silentMs?: number
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
const usualSilentMs = 120_000
/** The slowest way to the edge that a checkpoint gets through on. */
const sentBytesPerMs = 256

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
    return this.#send({ ...this.#of(work, what), method: 'GET' })
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
    return jsonOf(await this.#send(call))
  }

  /** The answer's body, whole. */
  async #send(call: Call): Promise<Uint8Array<ArrayBuffer>> {
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

  async #once({ body, fence, method, path, signal }: Call): Promise<Uint8Array<ArrayBuffer>> {
    const { edge, key, silentMs = usualSilentMs, trainer } = this.#options
    const url = new URL(path, edge).href
    const token = await signTrainerToken(key, { url, method, trainer, body: await sha256Hex(body ?? '') })
    using silence = new Silence(silentMs, { sending: (body?.length ?? 0) / sentBytesPerMs })
    const response = await fetch(url, {
      method,
      body: body ?? null,
      headers: {
        authorization: `Bearer ${token}`,
        ...(fence === undefined ? {} : { 'x-quartet-fence': String(fence) }),
      },
      redirect: 'error',
      signal: signal === undefined ? silence.signal : AbortSignal.any([signal, silence.signal]),
    })
    const parts: Uint8Array[] = []
    for await (const part of response.body ?? []) {
      silence.heard()
      parts.push(part)
    }
    const bytes = Buffer.concat(parts)
    if (response.ok) return bytes
    const told = Failure.safeParse(jsonOf(bytes))
    const code: ErrorCode =
      told.success && isErrorCode(told.data.error.code) ? told.data.error.code : 'internal_error'
    throw new QuartetError(
      code,
      told.success ? told.data.error.message : `the edge answered ${response.status}`,
    )
  }
}

/** Ends a call to an edge that says nothing for too long, however long the whole answer takes. */
class Silence implements Disposable {
  readonly #silent = new AbortController()
  readonly #ms: number
  #timer: NodeJS.Timeout

  /** `sending`: milliseconds more until the edge says its first word, as it reads the call. */
  constructor(ms: number, { sending }: { readonly sending: number }) {
    this.#ms = ms
    this.#timer = this.#started(ms + sending)
  }

  get signal(): AbortSignal {
    return this.#silent.signal
  }

  heard(): void {
    clearTimeout(this.#timer)
    this.#timer = this.#started(this.#ms)
  }

  #started(ms: number): NodeJS.Timeout {
    const late = new QuartetError('control_unavailable', `the edge was silent for ${Math.round(ms)} ms`)
    return setTimeout(() => this.#silent.abort(late), ms)
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
  }
}

/** Undefined of what is no JSON. */
function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return undefined
  }
}

const encoded = (value: unknown): Uint8Array<ArrayBuffer> => new TextEncoder().encode(JSON.stringify(value))
