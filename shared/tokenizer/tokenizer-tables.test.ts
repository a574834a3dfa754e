import { expect, test } from 'vitest'
import { tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'
import { compileTokenizer } from './compile-tokenizer.ts'
import { TextCodec } from './text-codec.ts'
import { checkTables, readTables } from './tokenizer-tables.ts'

const read = (bytes: Uint8Array) => checkTables(readTables(bytes))
const limit = { tokens: 1_000, param: 'prompt' } as const

test('a compiled tokenizer is used as it lies, wherever it lies in memory', () => {
  const compiled = compileTokenizer(tinyTokenizer)
  const expected = new TextCodec(read(compiled)).encodePrompt('hello <|im_end|>', limit)
  for (const shift of [1, 4]) {
    const moved = new Uint8Array(compiled.length + shift)
    moved.set(compiled, shift)
    expect(new TextCodec(read(moved.subarray(shift))).encodePrompt('hello <|im_end|>', limit)).toEqual(
      expected,
    )
  }
})

test.for<[string, (bytes: Uint8Array<ArrayBuffer>) => Uint8Array, RegExp]>([
  ['nothing', () => new Uint8Array(), /no compiled tokenizer/],
  ['another magic number', (bytes) => bytes.fill(0, 0, 4), /no compiled tokenizer/],
  ['another version', (bytes) => bytes.fill(9, 4, 5), /no compiled tokenizer of version/],
  ['a cut end', (bytes) => bytes.subarray(0, -4), /bytes and its head means/],
  ['a head beyond the end', (bytes) => bytes.fill(0x78, 8, 11), /its head is cut off/],
  ['a head that is no JSON', (bytes) => bytes.fill(0x7b, 16, 24), /its head is not JSON/],
  [
    'tokens out of order',
    (bytes) => {
      readTables(bytes).offsets[3] = 0xffff
      return bytes
    },
    /tokens do not lie in order/,
  ],
  [
    'merges out of order',
    (bytes) => {
      readTables(bytes).starts[3] = 0xffff
      return bytes
    },
    /merges do not lie in order/,
  ],
  [
    'a merge that makes no token',
    (bytes) => {
      readTables(bytes).merged[0] = 0xffff
      return bytes
    },
    /names a token that it lacks/,
  ],
])('a compiled tokenizer with %s is refused', ([_, damage, message]) => {
  expect(() => read(damage(compileTokenizer(tinyTokenizer)))).toThrow(message)
})
