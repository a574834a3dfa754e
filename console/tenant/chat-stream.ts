import { EventSourceParserStream } from 'eventsource-parser/stream'
import { z } from 'zod'
import { CallFailure, send } from '../api/call.ts'
import type { Session } from '../session/session.ts'

const TokenLogprob = z.object({ token: z.string(), logprob: z.number() })

const ToolCallPart = z.object({
  index: z.number(),
  function: z.object({ name: z.string().nullish(), arguments: z.string().nullish() }).optional(),
})

const Chunk = z.object({
  choices: z.array(
    z.object({
      delta: z.object({ content: z.string().nullish(), tool_calls: z.array(ToolCallPart).optional() }),
      logprobs: z
        .object({ content: z.array(TokenLogprob.extend({ top_logprobs: z.array(TokenLogprob) })).nullish() })
        .nullish(),
      finish_reason: z.string().nullish(),
    }),
  ),
  usage: z.object({ prompt_tokens: z.number(), completion_tokens: z.number() }).nullish(),
})

const Broken = z.object({ error: z.object({ message: z.string(), code: z.string() }) })

export interface AnswerToken {
  readonly text: string
  /** Natural logarithm of its probability. */
  readonly logprob: number
  readonly alternatives: readonly { readonly token: string; readonly logprob: number }[]
}

interface ToolCall {
  readonly name: string
  readonly arguments: string
}

/** An answer as far as it has come. */
export interface ChatAnswer {
  readonly text: string
  readonly tokens: readonly AnswerToken[]
  readonly toolCalls: readonly ToolCall[]
  readonly finish: string | undefined
  readonly usage: { readonly prompt: number; readonly completion: number } | undefined
  readonly firstTokenMs: number | undefined
  readonly totalMs: number
  /** `x-quartet-adapter`, `x-quartet-node`. */
  readonly adapter: string | undefined
  readonly node: string | undefined
}

const noAnswer: ChatAnswer = {
  text: '',
  tokens: [],
  toolCalls: [],
  finish: undefined,
  usage: undefined,
  firstTokenMs: undefined,
  totalMs: 0,
  adapter: undefined,
  node: undefined,
}

/** Streams a chat completion: the answer after each event. Throws CallFailure, also for a stream that breaks off. */
export async function* streamChat(
  session: Session,
  { body, signal }: { readonly body: Readonly<Record<string, unknown>>; readonly signal: AbortSignal },
): AsyncGenerator<ChatAnswer, void> {
  const started = performance.now()
  const response = await send(session, {
    method: 'POST',
    path: '/v1/chat/completions',
    json: { ...body, stream: true, stream_options: { include_usage: true } },
    signal,
  })
  if (response.body === null) return
  let answer: ChatAnswer = {
    ...noAnswer,
    adapter: response.headers.get('x-quartet-adapter') ?? undefined,
    node: response.headers.get('x-quartet-node') ?? undefined,
  }
  const events = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())
  for await (const { data } of events) {
    if (data === '[DONE]') return
    answer = extended(answer, { data, elapsedMs: performance.now() - started })
    yield answer
  }
  throw new CallFailure('The stream ended before the answer was complete.', {
    status: 0,
    code: 'broken_stream',
  })
}

/** The answer with one more event. Throws CallFailure for an error event. */
function extended(
  answer: ChatAnswer,
  { data, elapsedMs }: { readonly data: string; readonly elapsedMs: number },
): ChatAnswer {
  const json: unknown = JSON.parse(data)
  const broken = Broken.safeParse(json)
  if (broken.success)
    throw new CallFailure(broken.data.error.message, { status: 0, code: broken.data.error.code })
  const { choices, usage } = Chunk.parse(json)
  const choice = choices[0]
  const text = choice?.delta.content ?? ''
  const tokens = (choice?.logprobs?.content ?? []).map(({ logprob, token, top_logprobs }) => ({
    text: token,
    logprob,
    alternatives: top_logprobs,
  }))
  const isToken = text !== '' || tokens.length > 0 || choice?.delta.tool_calls !== undefined
  return {
    ...answer,
    text: answer.text + text,
    tokens: [...answer.tokens, ...tokens],
    toolCalls: withParts(answer.toolCalls, choice?.delta.tool_calls ?? []),
    finish: choice?.finish_reason ?? answer.finish,
    usage:
      usage == null ? answer.usage : { prompt: usage.prompt_tokens, completion: usage.completion_tokens },
    firstTokenMs: answer.firstTokenMs ?? (isToken ? elapsedMs : undefined),
    totalMs: elapsedMs,
  }
}

function withParts(
  calls: readonly ToolCall[],
  parts: readonly z.infer<typeof ToolCallPart>[],
): readonly ToolCall[] {
  const next = [...calls]
  for (const { index, function: part } of parts) {
    const before = next[index] ?? { name: '', arguments: '' }
    next[index] = {
      name: before.name + (part?.name ?? ''),
      arguments: before.arguments + (part?.arguments ?? ''),
    }
  }
  return next
}
