import { expect, it } from 'vitest'
import { BackboneDigest, BackboneSlug } from '../../shared/ids.ts'
import { byteIds, tinyChat, tinySpecials, tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'
import { encoderOf } from '../tokenizer/serving-encoder.ts'
import { chosenStart } from './start.ts'

const encoder = encoderOf({
  backbone: {
    slug: BackboneSlug.parse('tiny'),
    digest: BackboneDigest.parse('a'.repeat(64)),
    tokens: { bos: null, eos: [tinySpecials.endOfText, tinySpecials.imEnd] },
    chat: tinyChat,
    contextLength: 64,
    d: 4,
    layers: 1,
    vocab: 512,
  },
  tokenizer: tinyTokenizer,
})

it.each([
  [undefined, 'chat', tinySpecials.imStart],
  ['after-first', 'chat', tinySpecials.imStart],
  ['first', 'chat', undefined],
  // Its raw prompts begin with whatever they say.
  ['after-first', 'raw', undefined],
] as const)(
  'a text for rows at %s of %s prompts is read behind the token %s',
  async (placement, prompts, begin) => {
    const given = { init: 'anchor', initText: 'A', initTextFile: undefined, placement, prompts }
    expect(await chosenStart(given, encoder)).toEqual({
      start: { from: 'text', tokens: byteIds('A'), begin },
      name: expect.stringMatching(/^text [0-9a-f]{64}$/),
    })
  },
)
