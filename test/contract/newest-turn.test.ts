import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { toolFormat } from '../../edge/tools/tool-format.ts'
import { ChatTemplate, type Encoding } from '../../shared/tokenizer/chat-template.ts'
import type { Turn } from '../../shared/tokenizer/conversation.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'

/** Where the newest turn of a conversation begins, by the templates that models come with. */

const codec = TextCodec.compile(tinyTokenizer)

function open(name: string) {
  const path = join(import.meta.dirname, '../fixtures/chat-templates', `${name}.jinja`)
  const template = readFileSync(path, 'utf8')
  const tokens = { bos: tinySpecials.endOfText, eos: [tinySpecials.imEnd] }
  const chat = new ChatTemplate({ chat: { template }, tokens }, codec)
  const spelled = (ids: readonly number[]) =>
    ids.map((id) => new TextDecoder().decode(codec.vocabulary.spelling(id))).join('')
  /** The prompt in front of its newest turn, and the newest turn. */
  const parted = (messages: readonly Turn[], asked: Partial<Encoding> & { functions?: boolean } = {}) => {
    const { functions = false, ...own } = asked
    const named = { name: 'get_weather', description: 'Tells the weather.', parameters: { type: 'object' } }
    const tools = { functions: [named], spelling: toolFormat(chat.tools), opening: '' }
    const encoding = { tuned: true, room: 100_000, ...own, ...(functions && { tools }) }
    const ids = chat.encode(messages, encoding)
    const turn = chat.turnOf({ ids, messages }, encoding)
    return [spelled(ids.slice(0, turn)), spelled(ids.slice(turn))] as const
  }
  return { parted }
}

const system: Turn = { role: 'system', content: 'Be short.' }
const asked: Turn = { role: 'user', content: 'Is it up?' }
const answered: Turn = { role: 'assistant', content: 'Yes it is.' }
const next: Turn = { role: 'user', content: 'Since when?' }

/** The families, each with the text that the newest turn begins with. */
const families = [
  ['smollm2', '<|im_start|>user\n'],
  ['smollm3', '<|im_start|>user\n'],
  // It closes its last message only with a generation header behind it.
  ['qwen2', '<|im_end|>\n<|im_start|>user\n'],
  ['qwen2.5', '<|im_start|>user\n'],
  ['qwen3', '<|im_start|>user\n'],
  ['llama-3.1', '<|start_header_id|>user<|end_header_id|>\n\n'],
  ['llama-3.2', '<|start_header_id|>user<|end_header_id|>\n\n'],
  ['gemma-2', '<start_of_turn>user\n'],
  ['gemma-3', '<start_of_turn>user\n'],
  // They end every conversation with a token that stands behind no turn within one.
  ['phi-3-small', '<|user|>\n'],
  ['phi-4-mini', '<|user|>'],
  ['phi-4-mini-reasoning', '<|user|>'],
] as const
/** It refuses system messages. */
const refusesSystem = (name: string) => name === 'gemma-2'
/** It writes a system message into the first turn of a user. */
const joinsSystem = (name: string) => name === 'gemma-3'

test.for(families)(
  '%s: what the assistant said last, and all in front of it, stand in front of the newest turn',
  ([name, opening]) => {
    const { parted } = open(name)
    const talk = [asked, answered, next]
    for (const turns of refusesSystem(name) ? [talk] : [talk, [system, ...talk]]) {
      const [front, newest] = parted(turns)
      expect(front).toContain('Yes it is.')
      expect(newest.startsWith(`${opening}Since when?`), newest).toBe(true)
    }
  },
)

test.for(families)(
  '%s: of a first turn, the system message alone stands in front, and nothing without one',
  ([name, opening]) => {
    const { parted } = open(name)
    expect(parted([asked])[0]).toBe('')
    if (refusesSystem(name)) return
    const [front, newest] = parted([system, asked])
    if (joinsSystem(name)) expect(front).toBe('')
    else {
      expect(front).toContain('Be short.')
      expect(newest.startsWith(`${opening}Is it up?`), newest).toBe(true)
    }
  },
)

test.for(families)('%s: the beginning of an answer is a part of the newest turn', ([name, opening]) => {
  const { parted } = open(name)
  const beginning: Turn = { role: 'assistant', content: 'Since Mon' }
  const [front, newest] = parted([asked, answered, next, beginning], { end: 'within' })
  expect(front).toContain('Yes it is.')
  expect(newest.startsWith(`${opening}Since when?`), newest).toBe(true)
  expect(newest.endsWith('Since Mon')).toBe(true)
  expect(parted([asked, beginning], { end: 'within' })[0]).toBe('')
})

test.for(families)('%s: results of calls are the newest turn, the calls stand in front', ([name]) => {
  const { parted } = open(name)
  const calls = [{ id: 'call_a', name: 'get_weather', arguments: { city: 'Ulm' } }]
  const turns: Turn[] = [
    asked,
    { role: 'assistant', content: '', toolCalls: calls },
    { role: 'tool', content: 'seven degrees', toolCallId: 'call_a' },
  ]
  const [front, newest] = parted(turns, { functions: true })
  expect(front).toContain('Ulm')
  expect(front).toContain('Tells the weather.')
  expect(newest).toContain('seven degrees')
  expect(newest).not.toContain('Ulm')
})

test('a conversation that ends with the assistant has the generation header, or its last turn, as the newest', () => {
  const { parted } = open('smollm2')
  expect(parted([asked, answered])[1]).toBe('<|im_start|>assistant\n')
  // Nothing is left for the newest turn where a template opens no answer.
  expect(open('llama-2').parted([asked, answered])[0]).toBe('')
  expect(parted([asked, answered, next, answered], { end: 'message' })[1]).toMatch(
    /^<\|im_start\|>user\nSince when/,
  )
})
