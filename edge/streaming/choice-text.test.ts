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
  const choice = new ChoiceText(vocabularyOf(chunks), stops)
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

  test('say where their text begins', () => {
    const { tokens } = run(['a', '😀', 'b'].map(encode), [])
    expect(tokens.map(({ offset }) => offset)).toEqual([0, 1, 3])
  })
})
