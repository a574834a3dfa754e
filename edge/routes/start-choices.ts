import type { Context } from 'hono'
import { QuartetError, toQuartetError } from '../../shared/errors.ts'
import { settlementId } from '../../shared/ids.ts'
import { admit } from '../budgets/admit.ts'
import { ChoiceMeter } from '../budgets/choice-meter.ts'
import { outcomeOfOthers } from '../budgets/outcomes.ts'
import { currentFleet } from '../fleet/current-fleet.ts'
import type { FleetNode } from '../fleet/nodes.ts'
import { readerOf } from '../http/reader.ts'
import type { TenantApp } from '../request-context.ts'
import type { Companions } from '../routing/dispatch.ts'
import { forClient } from '../routing/node-failures.ts'
import {
  GenerationAttempts,
  type GenerationRequester,
  type RunningGeneration,
} from '../routing/start-generation.ts'
import { allReady, HeldChoice, merge } from '../streaming/held-choice.ts'
import { Places } from '../streaming/places.ts'
import { type ChoiceDelta, readChoice } from '../streaming/read-choice.ts'
import { RequestScope } from '../streaming/request-scope.ts'
import { serverTiming } from '../telemetry/server-timing.ts'
import { promptRowsOf, tailOf } from '../tenants/resolve-model.ts'
import { answerReading } from './answer-reading.ts'
import { adaptersNamed, boundOf, type Generation, nodeRequests } from './generation.ts'

export interface RunningChoices {
  readonly deltas: AsyncGenerator<{ readonly index: number; readonly value: ChoiceDelta }, void>
  readonly headers: Readonly<Record<string, string>>
  /** Tokens generated so far, of all choices. */
  readonly completionTokens: () => number
  /**
   * Prompt tokens that nodes had run for earlier requests. For a prompt with several choices, the first one's count.
   */
  readonly cachedTokens: () => number
  /** The node that answers with the first choice. */
  readonly node: () => FleetNode['id'] | undefined
  /** Stops what still runs; must be called on every path. */
  readonly close: () => void
}

/** A node does not know which field of the request a grammar comes from. */
function naming(param: string | undefined, refusal: unknown): unknown {
  if (!(refusal instanceof QuartetError) || refusal.code !== 'grammar_invalid' || param === undefined)
    return refusal
  return new QuartetError(refusal.code, refusal.message, { param, cause: refusal })
}

/** One attempt at a choice. */
interface ReadAttempt {
  readonly running: RunningGeneration
  readonly meter: ChoiceMeter
  readonly deltas: AsyncGenerator<ChoiceDelta, void>
}

/**
 * Starts every choice; returns when the answer can begin: a stream when each choice has its first token, a whole answer
 * when all are complete. Until then the loss of a node loses no choice.
 */
export async function startChoices(
  generation: Generation,
  { isStreamed }: { isStreamed: boolean },
  c: Context<TenantApp>,
): Promise<RunningChoices> {
  const { answerers, n } = generation
  const reading = answerReading(generation)
  const payer = { tenant: c.get('tenantRecord'), ...readerOf(c) }
  const tokenShare = c.get('isBatch') ? payer.tenant.policy.batchTokenShare : undefined
  const bound = boundOf(generation, { tokenShare })
  const requestId = c.get('requestId')
  const arrived = performance.now()
  const reservation = await admit({ bound, key: c.get('keyId'), requestId }, payer)
  const started = performance.now()
  c.get('timings').push({ name: 'reserve', ms: started - arrived })
  const { requestTimeoutMs } = c.get('platform')
  const requester = requesterOf(c)
  const scope = new RequestScope({ client: c.req.raw.signal, timeoutMs: requestTimeoutMs })
  const { deadline, signal } = scope
  const refused = (thrown: unknown): never => {
    throw naming(generation.grammarParam, thrown)
  }
  const companions: Companions = {}
  const places = new Places(generation.atOnce ?? n * generation.prompts.length)
  const choices = nodeRequests(generation, { requestId, isBatch: c.get('isBatch') === true }).map(
    ({ model, request }, choice) => {
      const promptRows = promptRowsOf(model)
      const settlement = (attempt: number) => settlementId({ requestId, choice, attempt })
      const attempts = new GenerationAttempts(
        {
          request,
          promptRows,
          shape: model.record.backbone,
          sharesPrompts: tailOf(model) !== undefined || request.turn !== undefined,
          ...(answerers.length > 1 ? { companions } : {}),
          settlement: (attempt) => ({ id: settlement(attempt), terms: reservation.terms(choice) }),
          signal,
          deadline,
        },
        requester,
      )
      const read = (running: RunningGeneration): ReadAttempt => {
        const meter = new ChoiceMeter({
          reservation,
          choice,
          settlement: settlement(running.attempt),
          node: running.node.url,
          promptTokens: request.prompt.length,
          promptRows,
          signal,
        })
        const { events } = running
        return {
          running,
          meter,
          deltas: readChoice({ events, meter, ...reading }),
        }
      }
      const held = new HeldChoice<ReadAttempt>({
        begin: async () => {
          await places.take()
          signal.throwIfAborted()
          return read(await attempts.begin().catch(refused))
        },
        again: async ({ running }, thrown) => read(await attempts.again(running, thrown).catch(refused)),
        forClient(thrown) {
          signal.throwIfAborted()
          return naming(generation.grammarParam, forClient(thrown))
        },
      })
      held.settled.catch(() => undefined).finally(() => places.giveBack())
      const settleUnanswered = (outcome: string) => {
        const { unusable } = attempts
        const ended = unusable?.attempt ?? (signal.aborted ? attempts.waiting[0] : undefined)
        if (ended === undefined) return reservation.unanswered(choice, outcome)
        reservation.settle(choice, {
          settlement: settlement(ended.number),
          node: ended.node.url,
          // The client left this attempt. Only its node knows how much of the prompt it had read.
          usage: unusable?.usage ?? { promptTokens: 0, completionTokens: 0 },
          countedBy: unusable === undefined ? 'edge' : 'node',
          outcome: unusable === undefined ? outcome : 'adapter_unusable',
          firstTokenMs: null,
        })
      }
      const end = (why: string) => {
        const meter = held.reading?.meter
        // The client left or the deadline passed, which caused every failure after it.
        const isOwn = !signal.aborted && held.failure !== undefined
        const others = answerers.length > 1 ? outcomeOfOthers(why) : why
        const outcome = isOwn ? toQuartetError(held.failure).code : others
        if (meter === undefined) settleUnanswered(outcome)
        else if (answerers.length > 1 && held.isReplacing) meter.replaced(outcome)
        else meter.end(outcome)
      }
      return { attempts, held, end }
    },
  )
  const held = choices.map((choice) => choice.held)
  const meters = () => held.flatMap(({ reading }) => reading?.meter ?? [])
  const close = (why: string) => {
    const outcome = signal.aborted ? toQuartetError(signal.reason).code : why
    // They end before the scope: a stream that the scope's end breaks is no failure.
    for (const { end } of choices) end(outcome)
    scope.close()
    reservation.close(outcome)
  }
  try {
    await allReady(held)
    c.get('timings').push({ name: 'node', ms: performance.now() - started })
    if (isStreamed) for (const choice of held) choice.release()
    else await Promise.all(held.map(({ settled }) => settled))
    const nodes = held.map(({ reading }) => reading?.running.node.id)
    return {
      deltas: merge(held.map((choice) => choice.deltas())),
      completionTokens: () => meters().reduce((sum, meter) => sum + meter.completionTokens, 0),
      cachedTokens: () =>
        held.reduce(
          (sum, { reading }, choice) => sum + (choice % n === 0 ? (reading?.meter.cachedTokens ?? 0) : 0),
          0,
        ),
      node: () => held[0]?.reading?.running.node.id,
      close: () => close('client_closed_request'),
      headers: {
        'x-quartet-adapter': adaptersNamed(answerers),
        'x-quartet-node': [...new Set(nodes)].join(', '),
        'x-quartet-retries': String(choices.reduce((sum, { attempts }) => sum + attempts.retries, 0)),
        'server-timing': serverTiming(c.get('timings')),
      },
    }
  } catch (thrown) {
    close(toQuartetError(thrown).code)
    throw choices.length > 1 ? withoutTime(thrown) : thrown
  }
}

/** A full queue tells when one choice more has room, not when several have. */
const withoutTime = (thrown: unknown): unknown =>
  thrown instanceof QuartetError && thrown.retryAfterSeconds !== undefined
    ? new QuartetError(thrown.code, thrown.message, { cause: thrown })
    : thrown

function requesterOf(c: Context<TenantApp>): GenerationRequester {
  const reader = readerOf(c)
  return {
    ...reader,
    tenant: c.get('tenant'),
    tenancy: c.get('tenantRecord').createdAt,
    region: reader.platform.region(c.req.raw),
    report: c.get('report'),
    nodes: async () => {
      const started = performance.now()
      const { lost, nodes, staleMs } = await currentFleet(reader)
      c.get('timings').push({ name: 'route', ms: performance.now() - started })
      if (staleMs !== null) c.header('x-quartet-fleet', `stale; age=${Math.round(staleMs / 1000)}`)
      return [...nodes, ...lost]
    },
  }
}
