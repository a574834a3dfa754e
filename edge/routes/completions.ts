import type { Context } from 'hono'
import { type Completion, CompletionRequest, type Prompt } from '../../shared/api/completions.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { readGenerationRequest } from '../http/generation-request.ts'
import type { TenantApp } from '../request-context.ts'
import type { PlacedToken } from '../streaming/choice-text.ts'
import { completionLogprobs } from '../streaming/token-text.ts'
import { answer, type Presentation } from './answer.ts'
import { encodePrompts } from './encode-prompts.ts'
import { checkContext, type Generation, promptRoom } from './generation.ts'
import { stopTokensOf, toSampling } from './sampling.ts'

/** `POST /v1/completions`. */
export async function completions(c: Context<TenantApp>): Promise<Response> {
  const request = await readGenerationRequest(CompletionRequest, c)
  const generation = await toGeneration(request, c)
  return answer({ generation, request, presentation: presentation(request, generation, c) }, c)
}

async function toGeneration(request: CompletionRequest, c: Context<TenantApp>): Promise<Generation> {
  const encoded = await encodePrompts(request, c, ({ codec, model }) =>
    request.prompt.map((prompt) => toIds(prompt, { codec, room: promptRoom(model) })),
  )
  const { codec, model, prompts } = encoded
  return {
    ...encoded,
    n: request.n,
    maxTokens: checkContext(prompts, {
      model,
      requested: request.max_tokens,
      cap: request.max_tokens,
      param: 'prompt',
      limitParam: 'max_tokens',
    }),
    sampling: toSampling(request, codec.vocabulary),
    stops: request.stop,
    stopTokens: stopTokensOf(
      { ignoreEos: request.ignore_eos, ids: request.stop_token_ids, strings: request.stop },
      encoded,
    ),
    logprobs: request.logprobs ?? null,
  }
}

function toIds(prompt: Prompt, { codec, room }: { codec: TextCodec; room: number }): number[] {
  const fail = (message: string): never => {
    throw new QuartetError('invalid_request', `prompt: ${message}`, { param: 'prompt' })
  }
  if (typeof prompt === 'string') {
    const ids = codec.encodePrompt(prompt, { tokens: room, param: 'prompt' })
    return ids.length > 0 ? ids : fail('is empty; give at least one token')
  }
  const unknown = prompt.find((id) => !codec.vocabulary.has(id))
  return unknown === undefined
    ? prompt
    : fail(`${unknown} is no token of this model, which has ${codec.vocabulary.size}`)
}

function presentation(
  request: CompletionRequest,
  { codec, model }: Generation,
  c: Context<TenantApp>,
): Presentation<Completion, Completion> {
  const head = {
    id: `cmpl-${c.get('requestId').slice('req_'.length)}`,
    object: 'text_completion',
    created: Math.floor(Date.now() / 1000),
    model: request.model,
    system_fingerprint: `fp_${model.record.backbone.digest.slice(0, 12)}`,
  } as const
  const logprobs = (tokens: readonly PlacedToken[]) =>
    request.logprobs === undefined ? null : completionLogprobs(tokens, codec.vocabulary)
  return {
    operation: 'text_completion',
    whole: (choices, usage) => ({
      ...head,
      choices: choices.map(({ finish, text, tokens }, index) => ({
        index,
        text,
        logprobs: logprobs(tokens),
        finish_reason: finish.reason,
      })),
      usage,
    }),
    opening: () => undefined,
    chunks: (index, { finish, text, tokens }) => [
      {
        ...head,
        choices: [{ index, text, logprobs: logprobs(tokens), finish_reason: finish?.reason ?? null }],
      },
    ],
    closing: (usage) => ({ ...head, choices: [], usage }),
  }
}
