import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ChoiceText } from './choice-text.ts'

/** A vocabulary whose token `i` is the `i`th of some chunks of bytes. */
const vocabularyOf = (chunks: readonly Uint8Array[]) => ({
  bytes: (id: number) => chunks[id] ?? new Uint8Array(),
})

/** Bytes cut at arbitrary places, empty chunks included. */
const cut = (bytes: Uint8Array, cuts: readonly number[]) => {
  const ends = [...cuts.map((at) => at % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  return ends.map((end, at) => bytes.subarray(at === 0 ? 0 : ends[at - 1], end))
}

const encode = (text: string) => new TextEncoder().encode(text)
const cuts = fc.array(fc.nat(1000), { maxLength: 20 })

function run(chunks: readonly Uint8Array[], stops: readonly string[]) {
  const choice = new ChoiceText({ vocabulary: vocabularyOf(chunks), stops })
  const pieces = []
  for (const id of chunks.keys()) {
    pieces.push(choice.push({ id }))
    if (choice.stopped) break
  }
  if (!choice.stopped) pieces.push(choice.finish())
  return {
    pieces,
    text: pieces.map(({ text }) => text).join(''),
    tokens: pieces.flatMap(({ tokens }) => tokens),
  }
}

describe('text from tokens', () => {
  test('is the same wherever tokens cut the bytes, and every piece of it is whole', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), cuts, (text, places) => {
        fc.pre(text.isWellFormed() && !text.includes('\ufffd'))
        const result = run(cut(encode(text), places), [])
        expect(result.text).toBe(text)
        for (const piece of result.pieces) {
          expect(piece.text.isWellFormed()).toBe(true)
          expect(piece.text.includes('\ufffd')).toBe(false)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('that is not UTF-8 reads as the decoder of the whole would read it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), cuts, (bytes, places) => {
        expect(run(cut(bytes, places), []).text).toBe(
          new TextDecoder('utf-8', { fatal: false, ignoreBOM: true }).decode(bytes),
        )
      }),
      { numRuns: 1000 },
    )
  })

  test('stops at a stop string across tokens that cut its characters', () => {
    fc.assert(
      fc.property(cuts, (places) => {
        expect(run(cut(encode('Grüße 😀 aus Köln'), places), ['😀 aus']).text).toBe('Grüße ')
      }),
    )
  })

  test('keeps a byte order mark that the model wrote', () => {
    expect(run([encode('\ufeffa')], []).text).toBe('\ufeffa')
  })
})

describe('tokens', () => {
  test('come out once each, in order, with the text they belong to', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 30 }), cuts, (text, places) => {
        fc.pre(text.isWellFormed())
        const chunks = cut(encode(text), places)
        const { tokens } = run(chunks, ['zz'])
        expect(tokens.map(({ id }) => id)).toEqual([...chunks.keys()])
      }),
    )
  })

  test('of a stop string are left out', () => {
    const { tokens } = run(['ab', 'c', 'ST', 'OP', 'x'].map(encode), ['STOP'])
    expect(tokens.map(({ id }) => id)).toEqual([0, 1])
  })

  test('of a stop string are left out whole: parts of characters and special tokens too', () => {
    const bytes = [...encode('a😀')].map((byte) => Uint8Array.of(byte))
    expect(run(bytes, ['😀']).tokens.map(({ id }) => id)).toEqual([0])
    expect(run(bytes.slice(1), ['😀']).tokens).toEqual([])
    const withSpecial = [encode('S'), new Uint8Array(), encode('TOP')]
    expect(run(withSpecial, ['STOP']).tokens).toEqual([])
    const inCharacter = [...encode('€')].map((byte) => Uint8Array.of(byte)).toSpliced(1, 0, new Uint8Array())
    expect(run(inCharacter, ['€']).tokens).toEqual([])
    expect(run(inCharacter, ['£']).tokens.map(({ id }) => id)).toEqual([0, 1, 2, 3])
  })

  test('of a character come out with it, not before', () => {
    const { pieces } = run(
      [...encode('é!')].map((byte) => Uint8Array.of(byte)),
      [],
    )
    expect(pieces.map(({ text, tokens }) => [text, tokens.length])).toEqual([
      ['', 0],
      ['é', 2],
      ['!', 1],
      ['', 0],
    ])
  })

  test('of a character that is never whole come out at the end', () => {
    const { text, tokens } = run(
      [...encode('é').subarray(0, 1), 0x61].map((byte) => Uint8Array.of(byte)),
      [],
    )
    expect([text, tokens.map(({ id }) => id)]).toEqual(['\ufffda', [0, 1]])
  })

  test('count before a stop string does', () => {
    const chunks = ['x', 'y', 'x', 'z'].map(encode)
    const choice = new ChoiceText({ vocabulary: vocabularyOf(chunks), stops: ['x'], minTokens: 2 })
    const texts = []
    for (const id of chunks.keys()) if (!choice.stopped) texts.push(choice.push({ id }).text)
    expect(texts).toEqual(['x', 'y', ''])
  })

  test('say where their text begins, in code points', () => {
    const { tokens } = run(['a', '😀', 'b'].map(encode), [])
    expect(tokens.map(({ offset }) => offset)).toEqual([0, 1, 2])
  })
})
