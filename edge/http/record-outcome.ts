import type { Context } from 'hono'
import { toQuartetError } from '../../shared/errors.ts'
import type { App } from '../request-context.ts'
import type { IdempotentCall } from './idempotent-call.ts'
import { within } from './within.ts'

/** An answer does not wait longer for its record … */
const patienceMs = 2_000
/** … which is tried once more after this long. */
const retryMs = 1_000

type Recorder = Pick<IdempotentCall, 'finish' | 'forget' | 'lose'>

/**
 * Writes down how a call with an Idempotency-Key ended. It has ended: its answer stands though the record cannot be
 * reached. Until the second try has succeeded, a repeat is told that the first was cut off; it never acts again.
 */
export async function recordOutcome(
  c: Pick<Context<App>, 'executionCtx' | 'get'>,
  { record, recorder }: { recorder: () => Promise<Recorder>; record: (call: Recorder) => Promise<void> },
): Promise<void> {
  const write = async () => record(await recorder())
  const inTime = () => within(patienceMs, { work: write(), late: silent })
  const failed = (thrown: unknown) =>
    c.get('platform').log('warn', 'idempotency_not_recorded', {
      requestId: c.get('requestId'),
      reason: toQuartetError(thrown).message,
    })
  const again = async () => {
    await new Promise((resolve) => setTimeout(resolve, retryMs))
    await inTime()
  }
  await inTime().catch((thrown: unknown) => {
    failed(thrown)
    c.executionCtx.waitUntil(again().catch(failed))
  })
}

const silent = (): never => {
  throw new Error('the record of the Idempotency-Key is silent')
}
