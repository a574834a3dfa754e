import { setTimeout as delay } from 'node:timers/promises'
import { CliFailure } from '../cli/command/failure.ts'
import { note } from '../cli/command/output.ts'
import { stopRequest } from '../cli/local/stop-request.ts'
import { benchSlug } from './backend.ts'
import { comparedFigures, measures } from './before-measures.ts'
import { type Side, startSide } from './before-side.ts'
import { type Checkout, checkoutNamed, thisCheckout, titleOf } from './checkout.ts'
import { IdleCpu } from './idle-cpu.ts'
import { type Row, report } from './report.ts'
import { roundsNamed } from './rounds.ts'
import type { Ending } from './started-checkout.ts'
import { compare } from './statistics.ts'

const usualRounds = 5
/** What a side still does behind its last answer shall not run beside the other's first. */
const settleMs = 300

export interface BeforeOptions {
  readonly checkout?: string | undefined
  readonly rounds?: string | undefined
}

/** `npm run bench -- before`: this checkout against another of this project, by what is the same in both: HTTP. */
export async function benchBefore(options: BeforeOptions): Promise<boolean> {
  const rounds = roundsNamed(options.rounds, usualRounds)
  const other = await checkoutNamed(options.checkout)
  const own = await thisCheckout()
  const hurry = new AbortController()
  using stop = stopRequest(() => hurry.abort())
  try {
    const rows = await comparedRows({ own, other, rounds }, { signal: stop.signal, hurry: hurry.signal })
    const sides = `${titleOf(own)} against ${titleOf(other)}`
    return report(`before: ${sides}: ${benchSlug} in q8 over HTTP, medians of ${rounds} rounds`, rows)
  } catch (cause) {
    if (!stop.signal.aborted) throw cause
    throw new CliFailure('stopped', { remedy: 'run the same command again', cause })
  }
}

async function comparedRows(
  { other, own, rounds }: { readonly own: Checkout; readonly other: Checkout; readonly rounds: number },
  ending: Ending,
): Promise<readonly Row[]> {
  await using running = new AsyncDisposableStack()
  // The other first: it is the one that may not start.
  const there = await startSide(other, { ending, until: running })
  const here = await startSide(own, { ending, until: running })
  const idle = new IdleCpu()
  const rows: Row[] = []
  for (const measure of measures) {
    note(`measuring ${measure.name}`)
    const turn = (side: Side, beside: Side) => async () => {
      await delay(settleMs, undefined, { signal: ending.signal })
      return await idle.during(beside.pid, () => side.measure(measure))
    }
    rows.push(
      ...comparedFigures(measure, await compare(rounds, { a: turn(here, there), b: turn(there, here) })),
    )
  }
  return [...rows, idle.row()]
}
