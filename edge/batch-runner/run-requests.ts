import { z } from 'zod'
import { type BatchId, BatchLine } from '../../shared/api/batches.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import { RequestId } from '../../shared/ids.ts'
import { type BatchBook, type PendingRequest, resultLine } from '../batches/batch-book.ts'
import type { BatchRecord } from '../batches/batch-table.ts'
import { lineText } from '../files/lines.ts'
import { type Answered, type Asking, answerRequest } from './answer-request.ts'

/** Requests of a batch that run at the same time, at most. */
const mostAtOnce = 8
/** No request begins later in a run of the object: the tenant's record is then read again. */
const roundMs = 4_000
/** Requests of one run; each takes several calls, of which a run has a bound. */
const mostInRound = 100
/** A request that failed at nodes this often is not repeated. */
const mostFailures = 5
/** The longest result, in UTF-8: one row of SQLite holds it, with room for the rest of the row. */
export const maxResultBytes = 1_500_000

/** The usage in an answer, by the names of its endpoint. Embeddings have no tokens of an answer. */
const UsageIn = z.object({
  usage: z.union([
    z
      .object({ prompt_tokens: z.int(), completion_tokens: z.int().default(0) })
      .transform(({ completion_tokens: output, prompt_tokens: input }) => ({ input, output })),
    z
      .object({ input_tokens: z.int(), output_tokens: z.int() })
      .transform(({ input_tokens: input, output_tokens: output }) => ({ input, output })),
  ]),
})

/**
 * The statuses of requests that the limits or the fleet have no room for now. They are tried again until the batch's
 * time is over.
 */
const waits: ReadonlySet<number> = new Set([429, 503])

export interface Round {
  readonly book: BatchBook
  readonly batch: BatchRecord
  readonly asking: Omit<Asking, 'key'>
  /** The bytes of a request's line. Throws `not_found` when the file is gone. */
  readonly read: (request: PendingRequest) => Promise<Uint8Array>
  readonly atOnce: number
}

/** How a round went: `isFull` where there was no room for a request. */
export interface RoundEnd {
  readonly isFull: boolean
  readonly atOnce: number
}

/**
 * Runs requests of a batch for a while, each result kept as soon as it is there. None runs on when it returns or throws:
 * the next round would ask the same again beside it.
 */
export async function runRound({ asking, atOnce, batch, book, read }: Round): Promise<RoundEnd> {
  const until = Date.now() + roundMs
  const pending = book.pending(batch.id, mostInRound)
  let isFull = false
  let hasBroken = false
  const work = async () => {
    while (!isFull && !hasBroken && !asking.signal.aborted && Date.now() < until) {
      const request = pending.shift()
      if (request === undefined) return
      const end = await ask(request, { batch, read, asking: { ...asking, key: batch.key } })
      if (end.kind === 'repeat') {
        if (asking.signal.aborted) return
        isFull = true
        book.tried(batch.id, request.line, { isFailure: end.isFailure })
      } else book.finish(batch.id, { line: request.line, ...end })
    }
  }
  const broke = (thrown: unknown): never => {
    hasBroken = true
    throw thrown
  }
  const ends = await Promise.allSettled(Array.from({ length: atOnce }, () => work().catch(broke)))
  for (const end of ends) if (end.status === 'rejected') throw end.reason
  return { isFull, atOnce: isFull ? Math.max(1, Math.floor(atOnce / 2)) : Math.min(mostAtOnce, atOnce + 1) }
}

export const firstAtOnce = mostAtOnce

type RequestEnd =
  | { readonly kind: 'repeat'; readonly isFailure: boolean }
  | {
      readonly kind: 'result'
      readonly isError: boolean
      readonly text: string
      readonly tokens: { readonly input: number; readonly output: number }
    }

async function ask(
  request: PendingRequest,
  { asking, batch, read }: Pick<Round, 'batch' | 'read'> & { readonly asking: Asking },
): Promise<RequestEnd> {
  const { customId, line } = request
  const id = await requestIdOf(batch.id, request)
  const answered = await answer(await lineOf(request, read), { id, batch, asking })
  const { body, status } = answered
  if (waits.has(status)) return { kind: 'repeat', isFailure: false }
  if (status >= 499 && request.failures + 1 < mostFailures) return { kind: 'repeat', isFailure: true }
  const text = resultLine(
    { batch: batch.id, customId, line },
    { response: { status_code: status, request_id: id, body } },
  )
  if (new TextEncoder().encode(text).length > maxResultBytes)
    return {
      kind: 'result',
      isError: true,
      text: resultLine(
        { batch: batch.id, customId, line },
        {
          error: {
            code: 'answer_too_long',
            message: `the answer has more than ${maxResultBytes} bytes; ask for fewer choices, tokens or log-probabilities`,
          },
        },
      ),
      tokens: { input: 0, output: 0 },
    }
  const usage = UsageIn.safeParse(body)
  return {
    kind: 'result',
    isError: status !== 200,
    text,
    tokens: usage.success ? usage.data.usage : { input: 0, output: 0 },
  }
}

/** The line as it was checked when the file arrived. */
async function lineOf(request: PendingRequest, read: Round['read']): Promise<BatchLine | QuartetError> {
  try {
    return BatchLine.parse(JSON.parse(lineText(await read(request))))
  } catch (thrown) {
    if (thrown instanceof QuartetError) return thrown
    throw thrown
  }
}

async function answer(
  line: BatchLine | QuartetError,
  { asking, batch, id }: { readonly id: RequestId; readonly batch: BatchRecord; readonly asking: Asking },
): Promise<Answered> {
  if (line instanceof QuartetError) return { status: line.status, body: line.toBody() }
  if (line.body.stream === true) {
    const refusal = new QuartetError('invalid_request', 'stream: must be false in a batch; leave it out', {
      param: 'stream',
    })
    return { status: refusal.status, body: refusal.toBody() }
  }
  return answerRequest({ id, endpoint: batch.endpoint, body: line.body }, asking)
}

/**
 * The id of one try of a request. A run that a crash cut off has the same one when it is repeated, so that what it used
 * is charged once.
 */
async function requestIdOf(batch: BatchId, { line, tries }: PendingRequest): Promise<RequestId> {
  const digest = await sha256Hex(`${batch}\n${line}\n${tries}`)
  return RequestId.parse(`req_${digest.slice(0, 32)}`)
}
