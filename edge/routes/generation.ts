import type { Context } from 'hono'
import type { Usage } from '../../shared/api/parameters.ts'
import { QuartetError, toQuartetError } from '../../shared/errors.ts'
import { settlementId } from '../../shared/ids.ts'
import { kvRows } from '../../shared/kv-rows.ts'
import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import type { Vocabulary } from '../../shared/tokenizer/vocabulary.ts'
import type { Grammar, Sampling } from '../../shared/wire.ts'
import type { Demand } from '../budgets/admission.ts'
import { admit } from '../budgets/admit.ts'
import { ChoiceMeter } from '../budgets/choice-meter.ts'
import { currentFleet } from '../fleet/current-fleet.ts'
import { readerOf } from '../http/reader.ts'
import type { TenantApp } from '../request-context.ts'
import type { Companions } from '../routing/dispatch.ts'
import { forClient } from '../routing/node-failures.ts'
import {
  GenerationAttempts,
  type GenerationRequester,
  type RunningGeneration,
} from '../routing/start-generation.ts'
import { allReady, HeldChoice } from '../streaming/held-choice.ts'
import { merge } from '../streaming/merge.ts'
import { Places } from '../streaming/places.ts'
import { type ChoiceDelta, readChoice } from '../streaming/read-choice.ts'
import { RequestScope } from '../streaming/request-scope.ts'
import { serverTiming } from '../telemetry/server-timing.ts'
import type { Answerer } from '../tenants/answerers.ts'
import { promptRowsOf, type ResolvedModel, tailOf } from '../tenants/resolve-model.ts'

/** A validated request in token ids, as both endpoints send it to the nodes. */
export interface Generation {
  /** Choice `i` of a prompt is answered by the one at `i` modulo their number. */
  readonly answerers: readonly Answerer[]
  /** The answerer with the most prompt rows: it has the least room. */
  readonly model: ResolvedModel
  readonly codec: TextCodec
  readonly prompts: readonly (readonly number[])[]
  /** For each prompt, the number of tokens behind late rows; undefined where the adapter's own number applies. */
  readonly tails: readonly (number | undefined)[]
  /** Choices per prompt; choice `i` of the request draws with `seed + i`. */
  readonly n: number
  /** Choices that run at a time, of an answer that is not streamed; all when absent. */
  readonly atOnce?: number
  readonly maxTokens: number
  readonly sampling: Sampling
  readonly stops: readonly string[]
  readonly stopTokens: readonly number[]
  readonly grammar: Grammar | undefined
  /** Tokens behind which the grammar begins; at once where there are none. */
  readonly grammarAfter?: readonly number[] | undefined
  /** Special tokens whose names are part of the answer's text. */
  readonly shownTokens?: ReadonlySet<number> | undefined
  readonly logprobs: number | null
  /** Alternatives to report with the log-probabilities of the prompt's tokens; undefined reports none. */
  readonly promptLogprobs?: number | undefined
  /** Among the tenant's own waiting requests, those of a lower number go first. */
  readonly ownPriority?: number
  /** The node answers with the prompt's embedding. */
  readonly embedding?: 'mean'
}

export interface RunningChoices {
  readonly deltas: AsyncGenerator<{ readonly index: number; readonly value: ChoiceDelta }, void>
  readonly headers: Readonly<Record<string, string>>
  /** Tokens generated so far, of all choices. */
  readonly completionTokens: () => number
  /** Prompt tokens that nodes had run for earlier requests. For a prompt with several choices, the first one's count. */
  readonly cachedTokens: () => number
  /** Stops what still runs; must be called on every path. */
  readonly close: () => void
}

/** One attempt at a choice. */
interface Attempt {
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
  const { answerers, codec, n, sampling, stops } = generation
  const payer = { tenant: c.get('tenantRecord'), ...readerOf(c) }
  const tokenShare = c.get('isBatch') ? payer.tenant.policy.batchTokenShare : undefined
  const demand = demandOf(generation, { tokenShare })
  const requestId = c.get('requestId')
  const arrived = performance.now()
  const reservation = await admit({ demand, key: c.get('keyId'), requestId }, payer)
  const started = performance.now()
  c.get('timings').push({ name: 'reserve', ms: started - arrived })
  const { requestTimeoutMs } = c.get('platform')
  const requester = requesterOf(c)
  const scope = new RequestScope({ client: c.req.raw.signal, timeoutMs: requestTimeoutMs })
  const { deadline, signal } = scope
  const companions: Companions = {}
  const places = new Places(generation.atOnce ?? n * generation.prompts.length)
  const choices = nodeRequests(generation, c).map(({ model, request }, choice) => {
    const promptRows = promptRowsOf(model)
    const settlement = (attempt: number) => settlementId({ requestId, choice, attempt })
    const attempts = new GenerationAttempts(
      {
        request,
        promptRows,
        shape: model.record.backbone,
        isLate: tailOf(model) !== undefined,
        ...(answerers.length > 1 ? { companions } : {}),
        settlement: (attempt) => ({ id: settlement(attempt), meter: reservation.meter(choice) }),
        signal,
        deadline,
      },
      requester,
    )
    const read = (running: RunningGeneration): Attempt => {
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
        deltas: readChoice({
          events,
          meter,
          stops,
          minTokens: sampling.minTokens ?? 0,
          vocabulary: withShown(codec.vocabulary, generation.shownTokens),
        }),
      }
    }
    const held = new HeldChoice<Attempt>({
      begin: async () => {
        await places.take()
        signal.throwIfAborted()
        return read(await attempts.begin())
      },
      again: async ({ running }, thrown) => read(await attempts.again(running, thrown)),
      forClient(thrown) {
        signal.throwIfAborted()
        return forClient(thrown)
      },
    })
    held.settled.catch(() => undefined).finally(() => places.giveBack())
    const settleUnanswered = (outcome: string) => {
      if (held.reading !== undefined) return
      const { unusable } = attempts
      const ended = unusable?.attempt ?? (signal.aborted ? attempts.waiting[0] : undefined)
      if (ended === undefined) return
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
    return { attempts, held, settleUnanswered }
  })
  const held = choices.map((choice) => choice.held)
  const meters = () => held.flatMap(({ reading }) => reading?.meter ?? [])
  const close = (why: string) => {
    // The client left, or the deadline passed: whatever broke then broke because of it.
    const outcome = signal.aborted ? toQuartetError(signal.reason).code : why
    for (const { settleUnanswered } of choices) settleUnanswered(outcome)
    // The meters end before the scope: a stream that the scope's end breaks is no failure.
    for (const meter of meters()) meter.end(outcome)
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

/**
 * Each of several answerers pays for its own rows. If one answerer gives several choices, the first choice pays for
 * all.
 */
function demandOf(
  { answerers, maxTokens, model, n, prompts }: Generation,
  { tokenShare }: Pick<Demand, 'tokenShare'>,
): Demand {
  const ofEach = () =>
    answerers.map(({ asked, model: own }) => ({ model: asked, promptRows: promptRowsOf(own) }))
  return {
    model: answerers[0]?.asked ?? '',
    prompts: prompts.map(({ length }) => length),
    promptRows: promptRowsOf(model),
    n,
    maxTokens,
    tokenShare,
    ...(answerers.length === 1 ? {} : { answerers: ofEach() }),
  }
}

function nodeRequests({ answerers, n, prompts, tails, ...generation }: Generation, c: Context<TenantApp>) {
  const byAnswerer = prompts.flatMap((prompt, at) =>
    Array.from({ length: n / answerers.length }, () =>
      answerers.map(({ model }) => ({ model, prompt, tail: tails[at] })),
    ).flat(),
  )
  return byAnswerer.map(({ model, prompt, tail }, index) => {
    const [adapter = null, ...behind] = model.adapters.map(({ digest }) => digest)
    const request = {
      requestId: c.get('requestId'),
      backbone: model.record.backbone.digest,
      adapter,
      ...(behind.length === 0 ? {} : { behind }),
      ...(tail === undefined ? {} : { tail }),
      prompt: [...prompt],
      maxTokens: generation.maxTokens,
      sampling: withSeed(generation.sampling, Math.floor(index / answerers.length)),
      stopTokens: [...generation.stopTokens],
      ...(generation.grammar === undefined ? {} : { grammar: generation.grammar }),
      ...(generation.grammarAfter === undefined ? {} : { grammarAfter: [...generation.grammarAfter] }),
      logprobs: generation.logprobs,
      ...((generation.ownPriority ?? 0) === 0 ? {} : { ownPriority: generation.ownPriority }),
      ...(c.get('isBatch') ? { priority: 'low' as const } : {}),
      ...(generation.promptLogprobs === undefined ? {} : { promptLogprobs: generation.promptLogprobs }),
      ...(generation.embedding === undefined ? {} : { embedding: generation.embedding }),
    }
    return { model, request }
  })
}

/** The digests behind an answer: a stack's with + between them, `none` for the untuned model. */
export const adaptersNamed = (answerers: readonly Answerer[]): string =>
  answerers.map(({ model }) => model.adapters.map(({ digest }) => digest).join('+') || 'none').join(', ')

/** A special token adds no text to an answer, but for those that are `shown`. */
function withShown(
  vocabulary: Vocabulary,
  shown: ReadonlySet<number> | undefined,
): Pick<Vocabulary, 'bytes'> {
  if (shown === undefined || shown.size === 0) return vocabulary
  return { bytes: (id) => (shown.has(id) ? vocabulary.spelling(id) : vocabulary.bytes(id)) }
}

const withSeed = (sampling: Sampling, index: number): Sampling =>
  sampling.seed === undefined ? sampling : { ...sampling, seed: sampling.seed + index }

/** Tokens a prompt may have so that one more can follow it. */
export function promptRoom(model: ResolvedModel): number {
  return model.record.backbone.contextLength - promptRowsOf(model) - 1
}

export interface ContextNeed {
  readonly model: ResolvedModel
  readonly requested: number | undefined
  /** The most tokens for a request that names no limit. */
  readonly cap: number
  readonly param: 'messages' | 'prompt' | 'input'
  /** The name of `requested` in the request; absent where a request has none and generates nothing. */
  readonly limitParam?: 'max_tokens' | 'max_completion_tokens' | 'max_output_tokens'
}

/** How many tokens to generate. Throws `context_length_exceeded` before any node is touched. */
export function checkContext(
  prompts: readonly (readonly number[])[],
  { cap, limitParam, model, param, requested }: ContextNeed,
): number {
  const { contextLength } = model.record.backbone
  const rows = promptRowsOf(model)
  const longest = Math.max(...prompts.map(({ length }) => length))
  const rowsWith = (maxTokens: number) => kvRows({ promptRows: rows, promptTokens: longest, maxTokens })
  const room = contextLength - rowsWith(0)
  if ((requested ?? 1) > room) {
    const adapter = rows > 0 ? ` and ${rows} of the adapter${model.adapters.length > 1 ? 's' : ''}` : ''
    // No prompt is short enough for a limit that takes the whole context.
    const isLimitAlone = limitParam !== undefined && (requested ?? 1) > contextLength - rows - 1
    const shorten = isLimitAlone ? [] : ['shorten the prompt']
    const lower = limitParam === undefined ? [] : [`lower ${limitParam}`]
    throw new QuartetError(
      'context_length_exceeded',
      `the model's context is ${contextLength} tokens; you asked for ${rowsWith(requested ?? 1)} (${longest} in the prompt${adapter}, ${requested ?? 1} to generate); ${[...shorten, ...lower].join(' or ')}`,
      { param: isLimitAlone ? limitParam : param },
    )
  }
  return requested ?? Math.min(room, cap)
}

/** A prompt counts once, however many choices answer it. */
export function usageOf(
  prompts: readonly (readonly number[])[],
  { cached = 0, completionTokens }: { completionTokens: number; cached?: number },
): Usage {
  const promptTokens = prompts.reduce((sum, { length }) => sum + length, 0)
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    ...(cached > 0 && { prompt_tokens_details: { cached_tokens: cached } }),
  }
}
