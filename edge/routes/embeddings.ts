import type { Context } from 'hono'
import type { EmbeddingList, EmbeddingsRequest } from '../../shared/api/embeddings.ts'
import { QuartetError } from '../../shared/errors.ts'
import { decodeVector } from '../../shared/vector.ts'
import { greedySampling } from '../../shared/wire.ts'
import type { TenantApp } from '../request-context.ts'
import { answer, type Presentation } from './answer.ts'
import { encodePrompts } from './encode-prompts.ts'
import { checkContext, promptRoom } from './fit-context.ts'
import type { Generation } from './generation.ts'
import { promptsTokens } from './prompt-tokens.ts'

/** Texts that nodes read at a time: few enough that other requests of the tenant find room in a node's queue. */
const readAtOnce = 32

/** `POST /v1/embeddings`. */
export async function embeddings(request: EmbeddingsRequest, c: Context<TenantApp>): Promise<Response> {
  const generation = await toGeneration(request, c)
  return answer({ generation, request: { stream: false }, presentation: presentation(request) }, c)
}

/** A generation of no tokens, of which the prompt's embedding is wanted. */
async function toGeneration(request: EmbeddingsRequest, c: Context<TenantApp>): Promise<Generation> {
  const param = 'input'
  const encoded = await encodePrompts({ ...request, param }, c, ({ codec, model }) => {
    if (model.adapters.length > 1)
      throw new QuartetError(
        'invalid_request',
        'model: stacked adapters have no embeddings; ask one of them',
        { param: 'model' },
      )
    const { d } = model.record.backbone
    if (request.dimensions !== undefined && request.dimensions !== d)
      throw new QuartetError(
        'unsupported_parameter',
        `dimensions: an embedding has as many numbers as the hidden states of the model, ${d}; remove it`,
        { param: 'dimensions' },
      )
    return { prompts: promptsTokens(request.input, { codec, param, room: promptRoom(model) }) }
  })
  const { model, prompts } = encoded
  return {
    ...encoded,
    n: 1,
    atOnce: readAtOnce,
    maxTokens: checkContext(prompts, { model, requested: 0, cap: 0, param }),
    sampling: greedySampling,
    stops: [],
    stopTokens: [],
    grammar: undefined,
    logprobs: null,
    embedding: 'mean',
  }
}

function presentation({ encoding_format, model }: EmbeddingsRequest): Presentation<EmbeddingList, never> {
  const written = (vector: string) =>
    encoding_format === 'base64' ? vector : [...(decodeVector(vector) ?? [])]
  return {
    operation: 'embeddings',
    whole: (choices, { prompt_tokens, total_tokens }) => ({
      object: 'list',
      data: choices.map(({ embedding = '' }, index) => ({
        object: 'embedding',
        index,
        embedding: written(embedding),
      })),
      model,
      usage: { prompt_tokens, total_tokens },
    }),
    opening: () => [],
    chunks: () => [],
    closing: () => [],
  }
}
