import type { Context } from 'hono'
import {
  type DetokenizeRequest,
  type TokenizeRequest,
  type TokenizerInfo,
  TokenizerInfoQuery,
} from '../../shared/api/tokenize.ts'
import { QuartetError } from '../../shared/errors.ts'
import { ChatTemplate } from '../../shared/tokenizer/chat-template.ts'
import { readerOf } from '../http/reader.ts'
import { parseQuery } from '../http/request-parts.ts'
import type { TenantApp } from '../request-context.ts'
import { tokenText } from '../streaming/token-text.ts'
import type { ModelWithCodec } from '../tenants/load-codec.ts'
import { listBackbones } from '../tenants/read.ts'
import { isAllowed } from '../tenants/resolve-model.ts'
import { chatTurns } from '../tools/chat-turns.ts'
import { ToolUse } from '../tools/tool-use.ts'
import { askedTools, promptEndOf } from './chat-completions.ts'
import { encodePrompts } from './encode-prompts.ts'
import { promptRoom } from './fit-context.ts'

/** `POST /tokenize`: the tokens of a prompt as the model would read them. Charges nothing. */
export async function tokenize(request: TokenizeRequest, c: Context<TenantApp>): Promise<Response> {
  const asked = await askedModel(request.model, c)
  const { codec, model, prompts } = await encodePrompts({ ...request, model: asked }, c, (open) => ({
    prompts: [{ ids: tokensOf(request, open) }],
  }))
  const tokens = prompts[0] ?? []
  return c.json({
    count: tokens.length,
    max_model_len: model.record.backbone.contextLength,
    tokens,
    token_strs: request.return_token_strs
      ? tokens.map((id) => tokenText(codec.vocabulary.spelling(id), ''))
      : null,
  })
}

function tokensOf(request: TokenizeRequest, open: ModelWithCodec): number[] {
  const { codec, model } = open
  const room = promptRoom(model)
  if ('prompt' in request) {
    const limit = { tokens: room, param: 'prompt' } as const
    return request.add_special_tokens
      ? codec.encodePrompt(request.prompt, limit)
      : codec.encodeRendered(request.prompt, limit)
  }
  return ChatTemplate.of(model.record, codec).encode(chatTurns(request.messages), {
    tuned: model.adapters.length > 0,
    room,
    settings: request.chat_template_kwargs,
    end: promptEndOf(request),
    tools: new ToolUse(askedTools(request), open).shown,
  })
}

/** `GET /tokenizer_info`: what a client needs to know of the tokenizer and the chat template. */
export async function tokenizerInfo(c: Context<TenantApp>): Promise<Response> {
  const { model: asked } = parseQuery(TokenizerInfoQuery, c)
  const { codec, model } = await openModel({ model: asked, user: undefined }, c)
  const { backbone } = model.record
  const { bos, eos } = backbone.tokens
  const spelled = (id: number) => new TextDecoder().decode(codec.vocabulary.spelling(id))
  return c.json({
    tokenizer_class: 'PreTrainedTokenizerFast',
    backbone: backbone.slug,
    vocab_size: codec.vocabulary.size,
    model_max_length: backbone.contextLength,
    chat_template: backbone.chat.template === '' ? null : backbone.chat.template,
    bos_token: bos === null ? null : spelled(bos),
    eos_token: spelled(eos[0] ?? 0),
  } satisfies TokenizerInfo)
}

/** A model with its tokenizer, of which no prompt is wanted. */
async function openModel(
  { model, user }: Pick<DetokenizeRequest, 'model' | 'user'>,
  c: Context<TenantApp>,
): Promise<ModelWithCodec> {
  return encodePrompts({ model: await askedModel(model, c), user }, c, () => ({ prompts: [] }))
}

/**
 * The model of a request that may leave it out: then one of those that the tenant may ask for, untuned where it may. Throws
 * `invalid_request` where these have several backbones, or there are none.
 */
async function askedModel(asked: string | undefined, c: Context<TenantApp>): Promise<string> {
  if (asked !== undefined) return asked
  const { aliases, policy } = c.get('tenantRecord')
  const untuned = (await listBackbones(readerOf(c))).map(({ backbone: { slug } }) => ({
    id: slug,
    backbone: slug,
  }))
  const tuned = Object.entries(aliases).map(([id, { backbone }]) => ({ id, backbone }))
  const allowed = [...untuned, ...tuned].filter(({ id }) => isAllowed(id, policy.aliases))
  const [first] = allowed
  if (first !== undefined && allowed.every(({ backbone }) => backbone === first.backbone)) return first.id
  throw new QuartetError(
    'invalid_request',
    `model: is missing, and your models have ${first === undefined ? 'no backbone' : 'several backbones'}; name one of those that GET /v1/models lists`,
    { param: 'model' },
  )
}

/** `POST /detokenize`: the text of tokens, names of special ones included. Charges nothing. */
export async function detokenize(request: DetokenizeRequest, c: Context<TenantApp>): Promise<Response> {
  const { codec } = await openModel(request, c)
  const unknown = request.tokens.findIndex((id) => !codec.vocabulary.has(id))
  if (unknown !== -1)
    throw new QuartetError(
      'invalid_request',
      `tokens[${unknown}]: ${request.tokens[unknown]} is no token of this model, which has ${codec.vocabulary.size}`,
      { param: `tokens[${unknown}]` },
    )
  const decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true })
  const text = request.tokens
    .map((id) => decoder.decode(codec.vocabulary.spelling(id), { stream: true }))
    .join('')
  return c.json({ prompt: text + decoder.decode() })
}
