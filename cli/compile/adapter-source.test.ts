import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { BackboneManifest } from '../../shared/backbone.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'
import { sourceText } from './adapter-source.ts'
import type { Messages } from './messages.ts'

const Told = BackboneManifest.pick({ chat: true, tokens: true })

function compiled(name: string, messages: Messages): string {
  const template = readFileSync(
    join(import.meta.dirname, '../../test/fixtures/chat-templates', `${name}.jinja`),
    'utf8',
  )
  const manifest = Told.parse({ chat: { template }, tokens: { bos: null, eos: [300] } })
  return sourceText({ kind: 'messages', messages }, { manifest, codec: TextCodec.compile(tinyTokenizer) })
}

const later: Messages = [
  { role: 'user', content: 'Hi' },
  { role: 'system', content: 'Be brief.' },
]

test.each([
  ['qwen2', '<|im_start|>user\nHi<|im_end|>\n<|im_start|>system\nBe brief.<|im_end|>\n'],
  ['qwen2.5', '<|im_start|>user\nHi<|im_end|>\n<|im_start|>system\nBe brief.<|im_end|>\n'],
  ['smollm2', '<|im_start|>user\nHi<|im_end|>\n<|im_start|>system\nBe brief.<|im_end|>\n'],
  [
    'llama-3.1',
    '<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>',
  ],
  ['phi-4-mini', '<|user|>Hi<|end|><|system|>Be brief.<|end|>'],
])(
  'compiled messages of %s hold the turns alone: no default system prompt, no end of the text',
  (name, text) => {
    expect(compiled(name, later)).toBe(text)
  },
)

test('an assistant’s last turn is ended as it is where a request follows', () => {
  const examples: Messages = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Hello.' },
  ]
  expect(compiled('olmo-2', examples)).toBe('<|user|>\nHi\n<|assistant|>\nHello.<|endoftext|>\n')
  expect(compiled('qwen2', examples)).toBe(
    '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n',
  )
})

test('messages that a template writes into the user’s own turn are refused, with what to do', () => {
  const system: Messages = [{ role: 'system', content: 'Be brief.' }]
  for (const name of ['gemma-3', 'llama-2', 'phi-3-mini'])
    expect(() => compiled(name, system)).toThrow(/into the turn of the user's request/)
  expect(() => compiled('gemma-2', system)).toThrow(/System role not supported/)
})
