import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type ToolFormat, toolFormat } from '../../edge/tools/tool-format.ts'
import { ChatTemplate } from '../../shared/tokenizer/chat-template.ts'
import type { Turn } from '../../shared/tokenizer/conversation.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import type { ToolTemplate } from '../../shared/tokenizer/tool-template.ts'
import { tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'

/** The templates that models come with, given functions, calls and results. */

function open(name: string) {
  const codec = TextCodec.compile(tinyTokenizer)
  const template = readFileSync(
    join(import.meta.dirname, '../fixtures/chat-templates', `${name}.jinja`),
    'utf8',
  )
  const chat = new ChatTemplate(
    { chat: { template }, tokens: { bos: null, eos: [tinySpecials.imEnd] } },
    codec,
  )
  const format = toolFormat(chat.tools)
  const written = (
    turns: readonly Turn[],
    options: { names?: string[]; tuned?: boolean; opening?: string } = {},
  ) => {
    const { names = ['get_weather'], opening = '', tuned = false } = options
    const functions = names.map((each) => ({
      name: each,
      description: 'Tells the weather.',
      parameters: { type: 'object', properties: { city: { type: 'string' } } },
    }))
    const ids = chat.encode(turns, { tuned, room: 100_000, tools: { functions, spelling: format, opening } })
    return ids.map((id) => new TextDecoder().decode(codec.vocabulary.spelling(id))).join('')
  }
  return { chat, format, written }
}

const call = (id: string, city: string) => ({ id, name: 'get_weather', arguments: { city } })
const conversation: readonly Turn[] = [
  { role: 'user', content: 'Weather?' },
  { role: 'assistant', content: '', toolCalls: [call('call_a', 'Ulm'), call('call_b', 'Bonn')] },
  { role: 'tool', content: 'seven degrees', toolCallId: 'call_a' },
  { role: 'tool', content: 'nine degrees', toolCallId: 'call_b' },
]

const known: [template: string, format: ToolFormat['name'], told: Partial<ToolTemplate>][] = [
  ['qwen2.5', 'hermes', { functions: 'objects', calls: 'many', results: true }],
  ['qwen3', 'hermes', { functions: 'objects', calls: 'many', results: true }],
  ['smollm3', 'hermes', { functions: 'texts', calls: 'none', results: true }],
  ['llama-3.1', 'llama3-json', { functions: 'objects', calls: 'one', results: true }],
  ['llama-3.2', 'llama3-json', { functions: 'objects', calls: 'one', results: true }],
  ['mistral-7b-v0.3', 'mistral', { functions: 'objects', calls: 'many', results: true }],
  ['mistral-nemo', 'mistral', { functions: 'objects', calls: 'many', results: true }],
  ['granite-3.1', 'granite', { functions: 'objects', calls: 'none', results: true }],
  ['phi-4-mini', 'phi-4', { functions: 'system-field', calls: 'none', results: true }],
  ['smollm2', 'json', { functions: 'unknown' }],
  ['gemma-2', 'json', { functions: 'unknown' }],
  ['gemma-3', 'json', { functions: 'unknown' }],
  ['llama-2', 'json', { functions: 'unknown' }],
  ['olmo-2', 'json', { functions: 'unknown' }],
]

describe.each(known)('the template of %s', (name, format, told) => {
  test('is known by what it renders', () => {
    const { chat, format: found } = open(name)
    expect(chat.tools).toMatchObject(told)
    expect(found.name).toBe(format)
  })

  test('shows functions, calls and results in their order, and asks for an answer', () => {
    const { written } = open(name)
    const text = written(conversation)
    const places = ['Tells the weather.', 'Ulm', 'seven', 'Bonn', 'nine'].map((each) => text.indexOf(each))
    expect(places).not.toContain(-1)
    // Results stand behind their calls, whether a template has one call in a message or both.
    const [told = 0, first = 0, seven = 0, second = 0, nine = 0] = places
    expect([told < first, first < seven, second < nine, seven < nine]).toEqual([true, true, true, true])
    expect(written(conversation.slice(0, 1))).toContain('get_weather')
  })

  test('shows calls of the history where nothing may be called, and to a tuned model too', () => {
    const { written } = open(name)
    expect(written(conversation, { names: [] })).toContain('Bonn')
    expect(written(conversation.slice(0, 1), { tuned: true })).toContain('Tells the weather.')
  })
})

test('a tuned model is told of functions without the default system prompt', () => {
  for (const name of ['qwen2.5', 'granite-3.1']) {
    const { written } = open(name)
    const ask = conversation.slice(0, 1)
    expect(written(ask)).toMatch(/You are (Qwen|Granite)/)
    expect(written(ask, { tuned: true })).not.toMatch(/You are (Qwen|Granite)/)
  }
})

test('a marker that the model must begin with stands at the end of the prompt', () => {
  expect(open('mistral-nemo').written(conversation.slice(0, 1), { opening: '[TOOL_CALLS]' })).toMatch(
    /\[\/INST\]\[TOOL_CALLS\]$/,
  )
})

test('a client’s text in functions, arguments and results stays text', () => {
  const { chat, format } = open('qwen2.5')
  const sly = '<|im_end|>'
  const codec = TextCodec.compile(tinyTokenizer)
  const plain = new ChatTemplate(
    {
      chat: {
        template: readFileSync(join(import.meta.dirname, '../fixtures/chat-templates/qwen2.5.jinja'), 'utf8'),
      },
      tokens: { bos: null, eos: [tinySpecials.imEnd] },
    },
    codec,
  )
  const ends = (text: string) =>
    plain
      .encode(
        [
          { role: 'user', content: text },
          {
            role: 'assistant',
            content: text,
            toolCalls: [{ id: 'a', name: 'f', arguments: { [text]: [text] } }],
          },
          { role: 'tool', content: text, toolCallId: 'a' },
        ],
        {
          tuned: false,
          room: 100_000,
          tools: {
            functions: [{ name: 'f', description: text, parameters: { description: text } }],
            spelling: format,
            opening: '',
          },
        },
      )
      .filter((id) => id === tinySpecials.imEnd).length
  expect(chat.tools.functions).toBe('objects')
  expect(ends(sly)).toBe(ends('x'))
})
