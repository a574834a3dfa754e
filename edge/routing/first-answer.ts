import type { GenerateEvent } from '../../shared/wire.ts'
import type { FleetNode } from '../fleet/nodes.ts'
import { type Clock, isolateClock } from './clock.ts'
import type { Attempt, Dispatch, FailedAttempt } from './dispatch.ts'
import { NodeFailure } from './node-failures.ts'

/** A node that is silent is looked up in the fleet this often. */
const watchMs = 2_500
/** An attempt at a lost node has this long to answer where no other node is left. */
const lostPatienceMs = 30_000
/**
 * A stream that has begun and of which nothing more comes for this long is given up. Far above a step of a slow node:
 * a chunk of another's prompt, then a token for everybody.
 */
export const silentMs = 30_000

type Events = AsyncGenerator<readonly GenerateEvent[], void>

export interface FirstAnswerSource {
  readonly dispatch: Pick<Dispatch, 'first' | 'next' | 'learn' | 'hedge' | 'hedgeAfterMs' | 'hasAnother'>
  /** The fleet as it is now. */
  readonly nodes: () => Promise<readonly FleetNode[]>
  /** Calls a node; resolves with its events once the first is there. Throws NodeFailure. */
  readonly open: (attempt: Attempt, signal: AbortSignal) => Promise<Events>
  /** Called for each attempt that fails, before its first token or after. */
  readonly failed: (attempt: Attempt, failure: NodeFailure) => void
  /** Ends everything. */
  readonly signal: AbortSignal
  readonly clock?: Clock
}

export interface FirstAnswer {
  readonly attempt: Attempt
  /** Attempts that failed before. */
  readonly retries: number
  /** The events from the first token on. Leaving them ends the attempt. */
  readonly events: Events
}

type Happening =
  | { readonly kind: 'answered'; readonly call: Call; readonly events: Events }
  | { readonly kind: 'failed'; readonly call: Call; readonly thrown: unknown }
  | { readonly kind: 'slow' }
  | { readonly kind: 'look' }

interface Call {
  readonly attempt: Attempt
  /** Since when the fleet has been without its node; undefined while it is heard of. */
  lostSince: number | undefined
  readonly controller: AbortController
  readonly outcome: Promise<Happening>
}

/**
 * Carries out a dispatch until some node's first token is there: fails over, hedges once, gives up a node that the
 * fleet has lost. The calls that lose are cancelled. Throws the last NodeFailure, or what `signal` was aborted with;
 * undefined when there is no node. After an answer that failed later, the same dispatch goes on with the next attempt.
 */
export async function firstAnswer(
  source: FirstAnswerSource,
  after?: FailedAttempt,
): Promise<FirstAnswer | undefined> {
  const { clock = isolateClock, dispatch, nodes, signal } = source
  const calls = new Set<Call>()
  let retries = 0
  const begin = (attempt: Attempt | undefined) => {
    if (attempt !== undefined) calls.add(call(attempt, source))
  }
  using timers = new Timers(clock, { slow: dispatch.hedgeAfterMs, look: watchMs })
  begin(after === undefined ? dispatch.first(await nodes()) : dispatch.next(await nodes(), after))
  try {
    while (calls.size > 0) {
      const happening = await Promise.race([...[...calls].map(({ outcome }) => outcome), ...timers.pending])
      signal.throwIfAborted()
      switch (happening.kind) {
        case 'answered':
          calls.delete(happening.call)
          happening.call.attempt.answered()
          return { attempt: happening.call.attempt, retries, events: untilEnded(happening, source) }
        case 'slow':
          timers.hasFired('slow')
          begin(dispatch.hedge(await nodes()))
          break
        case 'look': {
          timers.again('look')
          const fleet = await nodes()
          for (const silent of calls)
            if (isGivenUp(silent, { dispatch, fleet, now: clock.now() }))
              silent.controller.abort(lost(silent))
          break
        }
        case 'failed': {
          const { call: failed, thrown } = happening
          calls.delete(failed)
          if (!(thrown instanceof NodeFailure)) {
            failed.attempt.ended()
            throw thrown
          }
          failed.attempt.failed(thrown.verdict)
          source.failed(failed.attempt, thrown)
          retries += 1
          const failure = { node: failed.attempt.node, verdict: thrown.verdict }
          if (calls.size > 0) {
            dispatch.learn(failure)
            break
          }
          begin(dispatch.next(await nodes(), failure))
          if (calls.size === 0) throw thrown
        }
      }
    }
    return undefined
  } finally {
    for (const loser of calls) cancel(loser)
  }
}

function call(attempt: Attempt, { clock = isolateClock, open, signal }: FirstAnswerSource): Call {
  const controller = new AbortController()
  const outcome = open(attempt, AbortSignal.any([signal, controller.signal])).then(
    (events): Happening => ({ kind: 'answered', call: own, events }),
    (thrown: unknown): Happening => {
      const { reason } = controller.signal
      return { kind: 'failed', call: own, thrown: reason instanceof NodeFailure ? reason : thrown }
    },
  )
  const lostSince = attempt.node.isLost === true ? clock.now() : undefined
  const own: Call = { attempt, controller, outcome, lostSince }
  return own
}

function cancel({ attempt, controller, outcome }: Call): void {
  attempt.ended()
  controller.abort()
  outcome
    .then(async (late) => {
      if (late.kind === 'answered') await late.events.return()
    })
    .catch(() => undefined)
}

/**
 * Whether to stop waiting for a call's node: it has left the fleet and another is in good standing, or it has
 * been lost for too long. A fleet without any node tells nothing about one of them.
 */
function isGivenUp(
  call: Call,
  {
    dispatch,
    fleet,
    now,
  }: { dispatch: Pick<Dispatch, 'hasAnother'>; fleet: readonly FleetNode[]; now: number },
): boolean {
  const { node } = call.attempt
  if (fleet.length === 0) return false
  const found = fleet.find(({ id }) => id === node.id)
  if (found === undefined) return true
  if (found.isLost !== true) {
    call.lostSince = undefined
    return false
  }
  call.lostSince ??= now
  // A node that was lost when it was asked was the last resort.
  return now - call.lostSince >= lostPatienceMs || (node.isLost !== true && dispatch.hasAnother(fleet))
}

const lost = ({ attempt }: Call) =>
  new NodeFailure('lost', { message: `node ${attempt.node.id} is silent and has left the fleet` })

/** The events of the call that answered, each within `silentMs` of being asked for. */
async function* untilEnded(
  { call: { attempt, controller }, events }: { call: Call; events: Events },
  { clock = isolateClock, failed, signal }: FirstAnswerSource,
): Events {
  const { promise: silence, reject } = Promise.withResolvers<never>()
  silence.catch(() => undefined)
  let askedAt: number | undefined
  // One timer for the whole stream, as there are many groups. Time in which no group is asked for does not count.
  const look = () => {
    const waited = askedAt === undefined ? 0 : clock.now() - askedAt
    if (waited < silentMs) cancelLook = clock.after(silentMs - waited, look)
    else {
      const failure = new NodeFailure('silent', {
        message: `node ${attempt.node.id} sent nothing more for ${silentMs / 1000} s`,
      })
      controller.abort(failure)
      reject(failure)
    }
  }
  let cancelLook = clock.after(silentMs, look)
  try {
    for (;;) {
      askedAt = clock.now()
      const next = await Promise.race([events.next(), silence])
      askedAt = undefined
      if (next.done === true) return
      yield next.value
    }
  } catch (thrown) {
    // Once the request is over, the node is not to blame.
    if (thrown instanceof NodeFailure && !signal.aborted) {
      attempt.failed(thrown.verdict)
      failed(attempt, thrown)
    }
    throw thrown
  } finally {
    cancelLook()
    attempt.ended()
    await events.return()
  }
}

type TimerKind = 'slow' | 'look'

/** The waits of one dispatch, as promises to race. */
class Timers implements Disposable {
  readonly #clock: Clock
  readonly #ms: Readonly<Record<TimerKind, number | undefined>>
  readonly #running = new Map<TimerKind, { cancel: () => void; fired: Promise<Happening> }>()

  constructor(clock: Clock, ms: Readonly<Record<TimerKind, number | undefined>>) {
    this.#clock = clock
    this.#ms = ms
    this.again('slow')
    this.again('look')
  }

  get pending(): Promise<Happening>[] {
    return [...this.#running.values()].map(({ fired }) => fired)
  }

  again(kind: TimerKind): void {
    this.hasFired(kind)
    const ms = this.#ms[kind]
    if (ms === undefined) return
    const { promise, resolve } = Promise.withResolvers<Happening>()
    this.#running.set(kind, { fired: promise, cancel: this.#clock.after(ms, () => resolve({ kind })) })
  }

  hasFired(kind: TimerKind): void {
    this.#running.get(kind)?.cancel()
    this.#running.delete(kind)
  }

  [Symbol.dispose](): void {
    for (const { cancel } of this.#running.values()) cancel()
  }
}
