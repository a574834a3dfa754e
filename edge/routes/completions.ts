import type { Context } from 'hono'
import type { Completion, CompletionRequest } from '../../shared/api/completions.ts'
import { QuartetError } from '../../shared/errors.ts'
import { maxPromptLogprobs } from '../../shared/wire.ts'
import type { TenantApp } from '../request-context.ts'
import type { ChoiceDelta } from '../streaming/read-choice.ts'
import { completionLogprobs } from '../streaming/token-text.ts'
import { formParamOf, grammarOf } from '../structure/grammar.ts'
import { ownForm } from '../tenants/own-form.ts'
import type { ResolvedModel } from '../tenants/resolve-model.ts'
import { answer, type CompleteChoice, type Presentation } from './answer.ts'
import { behindPrompt, echoOf, promptLogprobs, scoredPrompt } from './echo.ts'
import { encodePrompts } from './encode-prompts.ts'
import { checkContext, promptRoom } from './fit-context.ts'
import type { Generation } from './generation.ts'
import { promptsTokens } from './prompt-tokens.ts'
import { stopTokensOf, toSampling } from './sampling.ts'

/** `POST /v1/completions`. */
export async function completions(request: CompletionRequest, c: Context<TenantApp>): Promise<Response> {
  const generation = await toGeneration(request, c)
  return answer({ generation, request, presentation: presentation(request, generation, c) }, c)
}

async function toGeneration(request: CompletionRequest, c: Context<TenantApp>): Promise<Generation> {
  const encoded = await encodePrompts({ ...request, param: 'prompt' }, c, ({ codec, model }) => ({
    prompts: promptsTokens(request.prompt, { codec, param: 'prompt', room: promptRoom(model) }),
  }))
  const { codec, model, prompts } = encoded
  const picksLikeliest = (request.best_of ?? request.n) > request.n
  return {
    ...encoded,
    n: request.best_of ?? request.n,
    picksLikeliest,
    maxTokens: checkContext(prompts, {
      model,
      requested: request.max_tokens,
      cap: request.max_tokens,
      param: 'prompt',
      limitParam: 'max_tokens',
    }),
    sampling: toSampling(request, codec),
    ownPriority: request.priority,
    stops: request.stop,
    stopTokens: stopTokensOf(
      { ignoreEos: request.ignore_eos, ids: request.stop_token_ids, strings: request.stop },
      encoded,
    ),
    // Where nothing is generated, nothing has a form.
    grammar: grammarOf(request, () => (request.max_tokens === 0 ? undefined : ownForm([model]))),
    grammarParam: formParamOf(request) ?? 'model',
    // The best of them are known by their log-probabilities.
    logprobs: request.logprobs ?? (picksLikeliest ? 0 : null),
    promptLogprobs: checkedScores(promptLogprobsOf(request), {
      model,
      prompts,
      n: request.best_of ?? request.n,
    }),
  }
}

/** How many alternatives of the prompt's tokens are needed; undefined when nothing is told of them. */
function promptLogprobsOf({ echo, logprobs, prompt_logprobs }: CompletionRequest): number | undefined {
  const needs = [
    ...(echo && logprobs !== undefined ? [logprobs] : []),
    ...(prompt_logprobs === undefined ? [] : [prompt_logprobs]),
  ]
  return needs.length === 0 ? undefined : Math.max(...needs)
}

/** All that one answer tells of prompts is held in memory until it is told. */
function checkedScores(
  alternatives: number | undefined,
  { model, n, prompts }: { model: ResolvedModel; n: number; prompts: readonly (readonly number[])[] },
): number | undefined {
  if (alternatives !== undefined && model.adapters.length > 1)
    throw new QuartetError(
      'invalid_request',
      'echo, prompt_logprobs: log-probabilities of a prompt are not told where adapters are stacked; ask one of them',
      { param: 'model' },
    )
  const tokens = n * prompts.reduce((sum, { length }) => sum + length, 0)
  if (alternatives === undefined || tokens * (1 + alternatives) <= maxPromptLogprobs) return alternatives
  throw new QuartetError(
    'invalid_request',
    `prompt: ${tokens} tokens with ${1 + alternatives} log-probabilities each are more than the ${maxPromptLogprobs} that one answer tells; send fewer prompts at a time, or ask for fewer log-probabilities`,
    { param: 'prompt' },
  )
}

/** The likeliest per token of each prompt's choices, in that order, each with its place among all that were generated. */
function best(
  choices: readonly CompleteChoice[],
  { generated, n }: { generated: number; n: number },
): (CompleteChoice & { readonly place: number })[] {
  const placed = choices.map((choice, place) => ({ ...choice, place }))
  if (generated === n) return placed
  return [...Map.groupBy(placed, ({ place }) => Math.floor(place / generated)).values()].flatMap((group) =>
    group.toSorted((a, b) => meanLogprob(b) - meanLogprob(a)).slice(0, n),
  )
}

function meanLogprob({ finish: { stopToken }, tokens }: CompleteChoice): number {
  const all = stopToken === undefined ? tokens : [...tokens, stopToken]
  return all.length === 0 ? 0 : all.reduce((sum, { logprob = 0 }) => sum + logprob, 0) / all.length
}

function presentation(
  request: CompletionRequest,
  { codec, model, n: generated, prompts }: Generation,
  c: Context<TenantApp>,
): Presentation<Completion, Completion> {
  const head = {
    id: `cmpl-${c.get('requestId').slice('req_'.length)}`,
    object: 'text_completion',
    created: Math.floor(Date.now() / 1000),
    model: request.model,
    system_fingerprint: `fp_${model.record.backbone.digest.slice(0, 12)}`,
  } as const
  const { vocabulary } = codec
  const idsOf = (place: number) => prompts[Math.floor(place / generated)] ?? []
  const echo = (place: number) => {
    const prompt = request.prompt[Math.floor(place / generated)]
    return request.echo && prompt !== undefined ? echoOf(prompt, { codec, ids: idsOf(place) }) : undefined
  }
  /** Code points of each choice's text so far; none of one that has not begun. */
  const shown = new Map<number, number>()
  const piece = (
    place: number,
    { finish, prompt = [], text, tokens }: Omit<ChoiceDelta, 'completionTokens'>,
  ) => {
    const before = shown.get(place)
    const end = (before ?? 0) + [...text].length
    shown.set(place, end)
    const echoed = echo(place)
    const placed =
      echoed === undefined
        ? tokens
        : [
            ...(before === undefined ? scoredPrompt(echoed, { codec, scores: prompt }) : []),
            ...behindPrompt(echoed, { tokens, stopToken: finish?.stopToken, end }),
          ]
    return {
      text: before === undefined && echoed !== undefined ? echoed.text + text : text,
      logprobs: request.logprobs === undefined ? null : completionLogprobs(placed, vocabulary),
    }
  }
  return {
    operation: 'text_completion',
    whole: (choices, usage) => ({
      ...head,
      choices: best(choices, { generated, n: request.n }).map((choice, index) => ({
        index,
        ...piece(choice.place, choice),
        finish_reason: choice.finish.reason,
        ...(request.prompt_logprobs !== undefined && {
          prompt_logprobs: promptLogprobs(idsOf(choice.place), { scores: choice.prompt, vocabulary }),
        }),
      })),
      usage,
    }),
    opening: () => [],
    chunks: (index, delta) => [
      { ...head, choices: [{ index, ...piece(index, delta), finish_reason: delta.finish?.reason ?? null }] },
    ],
    closing: (usage, { isAsked }) => (isAsked ? [{ ...head, choices: [], usage }] : []),
  }
}
