import { expect, test } from 'vitest'
import { parseTokenizer } from '../../model/import/tokenizer.ts'
import { tinySpecials, tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'
import { FollowedText } from './followed-text.ts'
import { Utf8Masks } from './utf8-masks.ts'
import { vocabularyOf } from './vocabulary.ts'

const vocab = 320
const vocabulary = vocabularyOf(parseTokenizer(tinyTokenizer), { vocab, eos: [tinySpecials.endOfText] })
if (vocabulary === undefined) throw new Error('the tiny tokenizer spells bytes')
const utf8 = new Utf8Masks(vocabulary)

/** A grammar of any text whose masks take so long to find. */
const grammar = (ms: number) => ({
  acceptToken: () => true,
  dispose: () => undefined,
  findJumpForwardString: () => '',
  isTerminated: () => false,
  getNextTokenBitmask: async () => {
    for (const start = performance.now(); performance.now() - start < ms; );
    return new Int32Array(vocab / 32).fill(-1)
  },
})

test('a text whose next tokens take too long to find is told to be slow, so that others do not wait for it', async () => {
  const quick = new FollowedText({ matcher: grammar(0), utf8, forcedText: undefined, stopTokens: [] })
  expect(await quick.after(0x61)).toMatchObject({ status: 'open', forced: [] })
  const slow = new FollowedText({
    matcher: grammar(200),
    utf8,
    forcedText: undefined,
    stopTokens: [],
    mostMs: 5,
  })
  expect(await slow.after(0x61)).toEqual({ status: 'slow' })
})
