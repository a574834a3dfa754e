import type { CompletionUsage } from '../../shared/api/parameters.ts'
import type { RequestId } from '../../shared/ids.ts'
import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import type { Grammar, Sampling } from '../../shared/wire.ts'
import type { UsageBound } from '../budgets/admission.ts'
import type { Answerer } from '../tenants/answerers.ts'
import { promptRowsOf, type ResolvedModel } from '../tenants/resolve-model.ts'

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
  /** For each prompt, the number of tokens in front of the newest turn, where the adapter's rows stand there. */
  readonly turns: readonly (number | undefined)[]
  /** Choices per prompt; choice `i` of the request draws with `seed + i`. */
  readonly n: number
  /** The client gets the likeliest of a prompt's choices, whichever it is. */
  readonly picksLikeliest?: boolean
  /** Choices that run at a time, of an answer that is not streamed; all when absent. */
  readonly atOnce?: number
  readonly maxTokens: number
  readonly sampling: Sampling
  readonly stops: readonly string[]
  readonly stopTokens: readonly number[]
  readonly grammar: Grammar | undefined
  /** The request's field that the grammar comes from. */
  readonly grammarParam?: string | undefined
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

/**
 * Each of several answerers pays for its own rows. If one answerer gives several choices, the first choice pays for
 * all.
 */
export function boundOf(
  { answerers, maxTokens, model, n, prompts }: Generation,
  { tokenShare }: Pick<UsageBound, 'tokenShare'>,
): UsageBound {
  const ofEach = () =>
    answerers.map(({ asked, model: own }) => ({
      model: asked,
      trial: own.trial,
      promptRows: promptRowsOf(own),
    }))
  return {
    model: answerers[0]?.asked ?? '',
    ...(answerers.length === 1 ? { trial: model.trial } : {}),
    prompts: prompts.map(({ length }) => length),
    promptRows: promptRowsOf(model),
    n,
    maxTokens,
    tokenShare,
    ...(answerers.length === 1 ? {} : { answerers: ofEach() }),
  }
}

/** The nodes' requests, choice by choice, each with the model that answers it. */
export function nodeRequests(
  { answerers, n, prompts, tails, turns, ...generation }: Generation,
  { isBatch, requestId }: { requestId: RequestId; isBatch: boolean },
) {
  const byAnswerer = prompts.flatMap((prompt, at) =>
    Array.from({ length: n / answerers.length }, () =>
      answerers.map(({ model }) => ({ model, prompt, tail: tails[at], turn: turns[at] })),
    ).flat(),
  )
  return byAnswerer.map(({ model, prompt, tail, turn }, index) => {
    const [adapter = null, ...behind] = model.adapters.map(({ digest }) => digest)
    const request = {
      requestId,
      backbone: model.record.backbone.digest,
      adapter,
      ...(behind.length === 0 ? {} : { behind }),
      ...(tail === undefined ? {} : { tail }),
      ...(turn === undefined ? {} : { turn }),
      prompt: [...prompt],
      maxTokens: generation.maxTokens,
      sampling: withSeed(generation.sampling, Math.floor(index / answerers.length)),
      stopTokens: [...generation.stopTokens],
      ...(generation.grammar === undefined ? {} : { grammar: generation.grammar }),
      ...(generation.grammarAfter === undefined ? {} : { grammarAfter: [...generation.grammarAfter] }),
      logprobs: generation.logprobs,
      ...((generation.ownPriority ?? 0) === 0 ? {} : { ownPriority: generation.ownPriority }),
      ...(isBatch ? { priority: 'low' as const } : {}),
      ...(generation.promptLogprobs === undefined ? {} : { promptLogprobs: generation.promptLogprobs }),
      ...(generation.embedding === undefined ? {} : { embedding: generation.embedding }),
    }
    return { model, request }
  })
}

const withSeed = (sampling: Sampling, index: number): Sampling =>
  sampling.seed === undefined ? sampling : { ...sampling, seed: sampling.seed + index }

/** The digests behind an answer: a stack's with + between them, `none` for the untuned model. */
export const adaptersNamed = (answerers: readonly Answerer[]): string =>
  answerers.map(({ model }) => model.adapters.map(({ digest }) => digest).join('+') || 'none').join(', ')

/** A prompt counts once, however many choices answer it. */
export const promptTokensOf = (prompts: readonly (readonly number[])[]): number =>
  prompts.reduce((sum, { length }) => sum + length, 0)

export function usageOf(
  prompts: readonly (readonly number[])[],
  { cached = 0, completionTokens }: { completionTokens: number; cached?: number },
): CompletionUsage {
  const promptTokens = promptTokensOf(prompts)
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    ...(cached > 0 && { prompt_tokens_details: { cached_tokens: cached } }),
  }
}
