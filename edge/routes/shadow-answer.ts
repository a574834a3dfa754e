import type { Context } from 'hono'
import { maxShadowText, maxShadowTokens, type ShadowAnswer } from '../../shared/api/shadows.ts'
import { QuartetError, toQuartetError } from '../../shared/errors.ts'
import { newRequestId } from '../../shared/ids.ts'
import type { Vocabulary } from '../../shared/tokenizer/vocabulary.ts'
import type { GenerateEvent, Usage } from '../../shared/wire.ts'
import { dayOf } from '../budgets/calendar.ts'
import { currentFleet } from '../fleet/current-fleet.ts'
import type { FleetNode } from '../fleet/nodes.ts'
import { readerOf } from '../http/reader.ts'
import type { TenantApp } from '../request-context.ts'
import { NodeFailure } from '../routing/node-failures.ts'
import { GenerationAttempts } from '../routing/start-generation.ts'
import type { PlacedToken } from '../streaming/choice-text.ts'
import { readChoice } from '../streaming/read-choice.ts'
import { tokenText } from '../streaming/token-text.ts'
import { RequestReport } from '../telemetry/request-report.ts'
import { isShadowed } from '../tenants/choose-target.ts'
import { promptRowsOf, type ResolvedModel } from '../tenants/resolve-model.ts'
import { answerReading } from './answer-reading.ts'
import { type Generation, nodeRequests } from './generation.ts'

/** A whole answer that a client got. */
interface Answered {
  readonly text: string
  readonly finishReason: string
  readonly completionTokens: number
  /** The node that gave it: it has the conversation's prefill. */
  readonly node: FleetNode['id'] | undefined
}

/** A worker's work behind an answer is ended after half a minute. */
const patienceMs = 20_000
/** A node that ends a shadow whose time is over says what it ran: the time for that word to come. */
const lastWordMs = 2_000

type Shadow = NonNullable<ResolvedModel['shadow']>

/**
 * Has the alias's shadow answer as well, if the request is in its share. It begins when the client's answer is
 * complete, at low priority and in the background, so that it neither delays that answer nor makes it fail. Requests
 * with several models, prompts, or without a text to answer with have no shadow, nor have those of batches, nor an answer
 * that is the likeliest of several: a shadow gives one.
 */
export function followWithShadow(generation: Generation, answered: Answered, c: Context<TenantApp>): void {
  const { answerers, maxTokens, model, picksLikeliest = false, promptLogprobs, prompts } = generation
  const { shadow } = model
  const [prompt] = prompts
  if (shadow === undefined || prompt === undefined || answerers.length > 1 || prompts.length > 1) return
  if (picksLikeliest || maxTokens === 0 || promptLogprobs !== undefined || c.get('isBatch') === true) return
  const requestId = c.get('requestId')
  const { alias, percent, target } = shadow
  if (!isShadowed(requestId, { alias, digest: target.digest, percent })) return
  const { background, platform } = readerOf(c)
  background(
    answerInShadow({ generation, shadow, prompt, answered }, c).catch((thrown: unknown) =>
      platform.log('warn', 'shadow_failed', { requestId, reason: toQuartetError(thrown).message }),
    ),
  )
}

interface Shadowing {
  readonly generation: Generation
  readonly shadow: Shadow
  readonly prompt: readonly number[]
  readonly answered: Answered
}

async function answerInShadow(
  { answered, generation, prompt, shadow }: Shadowing,
  c: Context<TenantApp>,
): Promise<void> {
  const { codec, model } = generation
  const { policy, createdAt } = c.get('tenantRecord')
  const tenant = c.get('tenant')
  const { platform } = readerOf(c)
  const shadowModel: ResolvedModel = { ...model, adapters: [shadow.target] }
  const rows = promptRowsOf(shadowModel)
  const room = model.record.backbone.contextLength - prompt.length - rows
  const maxTokens = Math.min(generation.maxTokens, room)
  if (maxTokens < 1 || policy.shadowTokensPerDay === 0) return
  const at = Date.now()
  const day = dayOf(at)
  const budget = platform.budget(tenant)
  const id = crypto.randomUUID()
  const tokens = prompt.length + rows + maxTokens
  const start = { id, day, tokens, limit: policy.shadowTokensPerDay, tenancy: createdAt }
  if (!(await budget.beginShadow(start))) return
  const said = await run(
    { ...generation, answerers: [{ asked: shadow.alias, model: shadowModel }], maxTokens },
    answered,
    c,
  )
  await budget.endShadow({ id, day, key: c.get('keyId'), model: shadow.alias, tokens: said.used })
  const { vocabulary } = codec
  const record: Omit<ShadowAnswer, 'id'> = {
    at,
    request: c.get('requestId'),
    alias: shadow.alias,
    version: shadow.version,
    prompt: endOf(prompt, vocabulary),
    answer: {
      adapter: model.adapters[0]?.digest ?? shadow.target.digest,
      text: answered.text.slice(0, maxShadowText),
      finish_reason: answered.finishReason,
      completion_tokens: answered.completionTokens,
    },
    shadow: {
      adapter: shadow.target.digest,
      error: said.error,
      text: said.text.slice(0, maxShadowText),
      finish_reason: said.finishReason,
      completion_tokens: said.completionTokens,
      cached_tokens: said.cachedTokens,
      tokens: said.tokens.slice(0, maxShadowTokens).map(({ id: token, logprob = 0 }) => ({
        token: tokenText(vocabulary.spelling(token), 'bytes:'),
        logprob,
      })),
    },
  }
  await platform.shadows(tenant, createdAt).put(record)
}

interface Said {
  readonly text: string
  readonly tokens: readonly PlacedToken[]
  readonly finishReason: string
  readonly completionTokens: number
  readonly cachedTokens: number
  /** Tokens and rows that it took, by the node's count; those that were seen where it told none. */
  readonly used: number
  /** The code of what went wrong. */
  readonly error: string | null
}

/** Runs it to its end, whichever that is. */
async function run(generation: Generation, { node }: Answered, c: Context<TenantApp>): Promise<Said> {
  const reader = readerOf(c)
  const requestId = newRequestId()
  const [call] = nodeRequests({ ...generation, n: 1, logprobs: 0 }, { requestId, isBatch: true })
  const promptRows = promptRowsOf(generation.answerers[0]?.model ?? { adapters: [] })
  const counts = new Counts((generation.prompts[0]?.length ?? 0) + promptRows)
  let text = ''
  const tokens: PlacedToken[] = []
  let finishReason = ''
  let error: string | null = null
  const over = new AbortController()
  const signal = AbortSignal.any([over.signal, AbortSignal.timeout(patienceMs + lastWordMs)])
  try {
    if (call === undefined) throw new Error('a generation without a prompt')
    const attempts = new GenerationAttempts(
      {
        request: call.request,
        promptRows,
        shape: call.model.record.backbone,
        sharesPrompts: true,
        companions: { node },
        signal,
        deadline: Date.now() + patienceMs,
      },
      {
        ...reader,
        tenant: c.get('tenant'),
        tenancy: c.get('tenantRecord').createdAt,
        region: reader.platform.region(c.req.raw),
        report: new RequestReport({ request: c.req.raw, requestId, telemetry: { on: false, ratio: 0 } }),
        nodes: async () => {
          const { lost, nodes } = await currentFleet(reader)
          return [...nodes, ...lost]
        },
      },
    )
    const { events } = await attempts.begin()
    const deltas = readChoice({ events, meter: counts, ...answerReading(generation) })
    for await (const delta of deltas) {
      text += delta.text
      tokens.push(...delta.tokens)
      finishReason = delta.finish?.reason ?? finishReason
    }
  } catch (thrown) {
    counts.failed(thrown)
    error = toQuartetError(thrown).code
  } finally {
    over.abort()
  }
  const { cachedTokens, completionTokens, used } = counts
  return { text, tokens, finishReason, completionTokens, cachedTokens, used, error }
}

/** The counts of a shadow's stream; nobody but the tenant's allowance for shadows is told. */
class Counts {
  completionTokens = 0
  cachedTokens = 0
  used = 0
  readonly #read: number

  /** `read`: the tokens and rows in front of its answer. */
  constructor(read: number) {
    this.#read = read
  }

  see(event: GenerateEvent): void {
    if (event.type === 'token') {
      this.completionTokens += 1
      this.cachedTokens ||= event.cachedTokens ?? 0
      this.used = this.#read - this.cachedTokens + this.completionTokens
    }
    if (event.type === 'done') this.#count(event.usage)
  }

  /** A node that fails, or whose time is over, says what it ran until then; perhaps before the first token. */
  failed(thrown: unknown): void {
    const failure = thrown instanceof QuartetError ? thrown.cause : thrown
    if (failure instanceof NodeFailure && failure.usage !== undefined) this.#count(failure.usage)
  }

  #count({ cachedTokens = 0, completionTokens, promptRows = 0, promptTokens }: Usage): void {
    this.completionTokens = completionTokens
    this.cachedTokens = cachedTokens
    this.used = promptTokens - cachedTokens + promptRows + completionTokens
  }

  end(): void {}
}

/** The end of a prompt as text, the names of special tokens included. */
function endOf(prompt: readonly number[], vocabulary: Vocabulary): string {
  const spelled = prompt.slice(-maxShadowText).map((id) => vocabulary.spelling(id))
  const bytes = new Uint8Array(spelled.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const piece of spelled) {
    bytes.set(piece, at)
    at += piece.length
  }
  return new TextDecoder().decode(bytes).slice(-maxShadowText)
}
