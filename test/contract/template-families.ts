import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { toolFormat } from '../../edge/tools/tool-format.ts'
import { ChatTemplate, type Encoding } from '../../shared/tokenizer/chat-template.ts'
import type { Turn } from '../../shared/tokenizer/conversation.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'

/** The chat templates that models come with, by family, in the tiny tokenizer's tokens. */

const codec = TextCodec.compile(tinyTokenizer)

/** A conversation's settings; `functions` tells it of one function, `opening` is how its answer begins. */
export type Asked = Partial<Encoding> & { readonly functions?: boolean; readonly opening?: string }

export function openFamily(name: string) {
  const path = join(import.meta.dirname, '../fixtures/chat-templates', `${name}.jinja`)
  const template = readFileSync(path, 'utf8')
  const tokens = { bos: tinySpecials.endOfText, eos: [tinySpecials.imEnd] }
  const chat = new ChatTemplate({ chat: { template }, tokens }, codec)
  const spelled = (ids: readonly number[]) =>
    ids.map((id) => new TextDecoder().decode(codec.vocabulary.spelling(id))).join('')
  const encoded = (messages: readonly Turn[], { functions = false, opening = '', ...own }: Asked) => {
    const named = { name: 'get_weather', description: 'Tells the weather.', parameters: { type: 'object' } }
    const tools = { functions: [named], spelling: toolFormat(chat.tools), opening }
    const encoding = { tuned: true, room: 100_000, ...own, ...(functions && { tools }) }
    return { encoding, ids: chat.encode(messages, encoding) }
  }
  return {
    /** The prompt in front of its newest turn, and the newest turn. */
    parted(messages: readonly Turn[], asked: Asked = {}) {
      const { encoding, ids } = encoded(messages, asked)
      const turn = chat.turnOf({ ids, messages }, encoding)
      return [spelled(ids.slice(0, turn)), spelled(ids.slice(turn))] as const
    },
    /** The text in front of late rows, and that behind them, as an adapter of the template's own header is served. */
    aroundRows(messages: readonly Turn[], asked: Asked = {}) {
      const { encoding, ids } = encoded(messages, asked)
      const tail = chat.tailOf({ ids, messages }, encoding) ?? chat.generationHeader(encoding.room)
      return [spelled(ids.slice(0, -tail)), spelled(ids.slice(-tail))] as const
    },
  }
}

/** The families, each with the text that its newest turn begins with and its generation header. */
export const families = [
  ['smollm2', '<|im_start|>user\n', '<|im_start|>assistant\n'],
  ['smollm3', '<|im_start|>user\n', '<|im_start|>assistant\n'],
  // It closes its last message only with a generation header behind it.
  ['qwen2', '<|im_end|>\n<|im_start|>user\n', '<|im_end|>\n<|im_start|>assistant\n'],
  ['qwen2.5', '<|im_start|>user\n', '<|im_start|>assistant\n'],
  ['qwen3', '<|im_start|>user\n', '<|im_start|>assistant\n'],
  [
    'llama-3.1',
    '<|start_header_id|>user<|end_header_id|>\n\n',
    '<|start_header_id|>assistant<|end_header_id|>\n\n',
  ],
  [
    'llama-3.2',
    '<|start_header_id|>user<|end_header_id|>\n\n',
    '<|start_header_id|>assistant<|end_header_id|>\n\n',
  ],
  ['gemma-2', '<start_of_turn>user\n', '<start_of_turn>model\n'],
  ['gemma-3', '<start_of_turn>user\n', '<start_of_turn>model\n'],
  // They end every conversation with a token that stands behind no turn within one.
  ['phi-3-small', '<|user|>\n', '<|assistant|>\n'],
  ['phi-4-mini', '<|user|>', '<|assistant|>'],
  ['phi-4-mini-reasoning', '<|user|>', '<|assistant|>'],
] as const

/** It refuses system messages. */
export const refusesSystem = (name: string) => name === 'gemma-2'
/** It writes a system message into the first turn of a user. */
export const joinsSystem = (name: string) => name === 'gemma-3'

export const system: Turn = { role: 'system', content: 'Be short.' }
export const asked: Turn = { role: 'user', content: 'Is it up?' }
export const answered: Turn = { role: 'assistant', content: 'Yes it is.' }
export const next: Turn = { role: 'user', content: 'Since when?' }
const calls = [{ id: 'call_a', name: 'get_weather', arguments: { city: 'Ulm' } }]
/** A call and its result. */
export const called: readonly Turn[] = [
  asked,
  { role: 'assistant', content: '', toolCalls: calls },
  { role: 'tool', content: 'seven degrees', toolCallId: 'call_a' },
]
