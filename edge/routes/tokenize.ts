import type { Context } from 'hono'
import type { DetokenizeRequest, TokenizeRequest } from '../../shared/api/tokenize.ts'
import { QuartetError } from '../../shared/errors.ts'
import { ChatTemplate } from '../../shared/tokenizer/chat-template.ts'
import type { TenantApp } from '../request-context.ts'
import { tokenText } from '../streaming/token-text.ts'
import type { OpenModel } from '../tenants/load-codec.ts'
import { chatTurns } from '../tools/chat-turns.ts'
import { ToolUse } from '../tools/tool-use.ts'
import { askedTools, promptEndOf } from './chat-completions.ts'
import { encodePrompts } from './encode-prompts.ts'
import { promptRoom } from './fit-context.ts'

/** `POST /tokenize`: the tokens of a prompt as the model would read them. Charges nothing. */
export async function tokenize(request: TokenizeRequest, c: Context<TenantApp>): Promise<Response> {
  const { codec, model, prompts } = await encodePrompts(request, c, (open) => ({
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

function tokensOf(request: TokenizeRequest, open: OpenModel): number[] {
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

/** `POST /detokenize`: the text of tokens, names of special ones included. Charges nothing. */
export async function detokenize(request: DetokenizeRequest, c: Context<TenantApp>): Promise<Response> {
  const { codec } = await encodePrompts(request, c, () => ({ prompts: [] }))
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
