import type { Context } from 'hono'
import type { CompletionUsage } from '../../shared/api/parameters.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TokenScore } from '../../shared/wire.ts'
import { reportError } from '../http/error-response.ts'
import { endRequest } from '../http/open-request.ts'
import type { TenantApp } from '../request-context.ts'
import type { PlacedToken } from '../streaming/choice-text.ts'
import { eventStream } from '../streaming/event-stream.ts'
import type { ChoiceDelta } from '../streaming/read-choice.ts'
import { completionTokens, type GenerationFacts, type GenerationUse } from '../telemetry/request-report.ts'
import { askedOf } from './encode-prompts.ts'
import { adaptersNamed, type Generation, promptTokensOf, usageOf } from './generation.ts'
import { followWithShadow } from './shadow-answer.ts'
import { type RunningChoices, startChoices } from './start-choices.ts'

export interface CompleteChoice {
  readonly text: string
  readonly tokens: readonly PlacedToken[]
  /** The scores of the prompt's tokens from the second on, if the request asks for them. */
  readonly prompt: readonly TokenScore[]
  /** The prompt's embedding, if the request asks for it. */
  readonly embedding?: string | undefined
  readonly completionTokens: number
  readonly finish: NonNullable<ChoiceDelta['finish']>
}

/** How an endpoint words its answer. */
export interface Presentation<Whole extends object, Chunk extends object> {
  readonly operation: GenerationFacts['operation']
  readonly whole: (choices: readonly CompleteChoice[], usage: CompletionUsage) => Whole | Promise<Whole>
  /** The events that open a choice's stream. */
  readonly opening: (index: number) => readonly Chunk[]
  readonly chunks: (index: number, delta: ChoiceDelta) => readonly Chunk[]
  /** The last events. `isAsked`: the client wants an event with the usage. */
  readonly closing: (
    usage: CompletionUsage,
    asked: { isAsked: boolean },
  ) => readonly Chunk[] | Promise<readonly Chunk[]>
  /** The last event of an answer that broke; as at OpenAI's chat completions where it is absent. */
  readonly failure?: (error: QuartetError, usage: CompletionUsage) => Chunk
  /** Events carry their `type` as the event's name too. */
  readonly isNamed?: true
  /** Nothing stands behind the last event; `[DONE]` does otherwise. */
  readonly endsWithout?: true
}

export interface GenerationAnswer<Whole extends object, Chunk extends object> {
  readonly generation: Generation
  readonly request: {
    readonly stream: boolean
    readonly stream_options?:
      | { readonly include_usage: boolean; readonly continuous_usage_stats: boolean }
      | undefined
  }
  readonly presentation: Presentation<Whole, Chunk>
}

/** Runs a generation and answers with it, as one JSON value or as a stream of events. */
export async function answer<Whole extends object, Chunk extends object>(
  { generation, presentation, request }: GenerationAnswer<Whole, Chunk>,
  c: Context<TenantApp>,
): Promise<Response> {
  const { answerers, maxTokens, model, n, prompts, sampling } = generation
  const report = c.get('report')
  report.generation = {
    operation: presentation.operation,
    model: askedOf(answerers),
    backbone: model.record.backbone.slug,
    adapter: adaptersNamed(answerers),
    stream: request.stream,
    choices: n * prompts.length,
    maxTokens,
    sampling,
  }
  const running = await startChoices(generation, { isStreamed: request.stream }, c)
  const use: RunningUse = { promptTokens: promptTokensOf(prompts), tokens: [], finishReasons: [] }
  let firstText = ''
  const note = (index: number, { completionTokens, finish, text }: ChoiceDelta) => {
    if (index === 0 && model.shadow !== undefined) firstText += text
    use.tokens[index] = completionTokens
    if (finish !== undefined) use.finishReasons[index] = finish.reason
    // A broken answer has its counts too.
    report.use = use
  }
  const close = () => {
    const node = running.node()
    running.close()
    const [finishReason] = use.finishReasons
    const isWhole = Object.keys(use.finishReasons).length === n * prompts.length
    if (finishReason === undefined || !isWhole || model.shadow === undefined) return
    followWithShadow(
      generation,
      { text: firstText, finishReason, completionTokens: use.tokens[0] ?? 0, node },
      c,
    )
  }
  if (!request.stream) {
    try {
      const choices = await collect(running, { generation, note })
      return c.json(
        await presentation.whole(
          choices,
          usageOf(prompts, { completionTokens: completionTokens(use), cached: running.cachedTokens() }),
        ),
        200,
        running.headers,
      )
    } finally {
      close()
    }
  }
  const { continuous_usage_stats: isContinuous = false, include_usage: includeUsage = false } =
    request.stream_options ?? {}
  const body = eventStream({
    events: chunks({ running, generation, presentation, use, note, includeUsage, isContinuous }),
    onError: (error) => reportError(error, c),
    onLeft: () => {
      report.errorCode = 'client_closed_request'
    },
    failure: (error) => {
      const usage = usageOf(prompts, { completionTokens: running.completionTokens() })
      return presentation.failure?.(error, usage) ?? { ...error.toBody(), usage }
    },
    isNamed: presentation.isNamed === true,
    end: presentation.endsWithout === true ? undefined : '[DONE]',
    close: () => {
      close()
      endRequest(c, 200)
    },
  })
  report.isStreaming = true
  return c.body(body, 200, {
    ...running.headers,
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
  })
}

/** The usage of an answer so far, as it grows. */
interface RunningUse extends GenerationUse {
  readonly tokens: number[]
  readonly finishReasons: string[]
}

/** Counts a delta of a choice. */
type Note = (index: number, delta: ChoiceDelta) => void

async function collect(
  { deltas }: RunningChoices,
  { generation: { n, prompts }, note }: { generation: Generation; note: Note },
): Promise<CompleteChoice[]> {
  const partial = Array.from({ length: n * prompts.length }, () => ({
    text: '',
    tokens: [] as PlacedToken[],
    prompt: [] as TokenScore[],
    embedding: undefined as ChoiceDelta['embedding'],
    completionTokens: 0,
    finish: undefined as ChoiceDelta['finish'],
  }))
  for await (const { index, value } of deltas) {
    const choice = partial[index]
    if (choice === undefined) continue
    note(index, value)
    choice.text += value.text
    choice.tokens.push(...value.tokens)
    choice.prompt.push(...(value.prompt ?? []))
    choice.embedding = value.embedding
    choice.completionTokens = value.completionTokens
    choice.finish = value.finish
  }
  return partial.map(({ finish, ...choice }) => {
    if (finish === undefined)
      throw new QuartetError('node_error', 'the node ended without a finish reason; retry')
    return { ...choice, finish }
  })
}

async function* chunks<Whole extends object, Chunk extends object>({
  generation: { n, prompts },
  includeUsage,
  isContinuous,
  note,
  presentation,
  running,
  use,
}: {
  running: RunningChoices
  generation: Generation
  presentation: Presentation<Whole, Chunk>
  use: GenerationUse
  note: Note
  includeUsage: boolean
  /** Every event has the usage so far. */
  isContinuous: boolean
}): AsyncGenerator<object, void> {
  const usage = () =>
    usageOf(prompts, { completionTokens: completionTokens(use), cached: running.cachedTokens() })
  const usageSoFar = () => (isContinuous ? { usage: usage() } : includeUsage ? { usage: null } : {})
  for (let index = 0; index < n * prompts.length; index++) {
    for (const opening of presentation.opening(index)) yield { ...opening, ...usageSoFar() }
  }
  for await (const { index, value } of running.deltas) {
    note(index, value)
    for (const chunk of presentation.chunks(index, value)) yield { ...chunk, ...usageSoFar() }
  }
  yield* await presentation.closing(usage(), { isAsked: includeUsage })
}
