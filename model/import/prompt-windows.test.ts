import { expect, test } from 'vitest'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'
import { promptWindows } from './prompt-windows.ts'
import { encode } from './tokenizer.ts'

const text = 'a text of some words, and of some more'
const beginning = { id: '<|im_start|>', type_id: 0 }
const bos = tinyTokenizer.added_tokens.find(({ content }) => content === beginning.id)?.id ?? -1

test.each([
  ['a tokenizer that puts a token in front of a prompt', [bos]],
  ['one that puts none', []],
])('every window of a text begins as a prompt does: %s', (_, before) => {
  const post_processor = {
    type: 'TemplateProcessing',
    single: [...before.map(() => ({ SpecialToken: beginning })), { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: { [beginning.id]: { id: beginning.id, ids: [bos], tokens: [beginning.id] } },
  }
  const codec = TextCodec.compile({ ...tinyTokenizer, post_processor })
  const windows = promptWindows(codec, { text, length: 8 })
  expect(windows.length).toBeGreaterThan(2)
  for (const [at, window] of windows.entries()) {
    expect(window.slice(0, before.length)).toEqual(before)
    if (at < windows.length - 1) expect(window).toHaveLength(8)
  }
  expect(windows.flatMap((window) => window.slice(before.length))).toEqual(encode(codec, text))
})
