import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { StopMatcher } from './stop-matcher.ts'

/** The definition: read character by character until some stop string ends; keep what lies before it. */
function cutAtStop(text: string, stops: readonly string[]): { shown: string; stopped: boolean } {
  for (let end = 1; end <= text.length; end++) {
    const ending = stops.filter((stop) => text.slice(0, end).endsWith(stop))
    const longest = Math.max(0, ...ending.map(({ length }) => length))
    if (longest > 0) return { shown: text.slice(0, end - longest), stopped: true }
  }
  return { shown: text, stopped: false }
}

function run(pieces: readonly string[], stops: readonly string[]) {
  const matcher = new StopMatcher(stops)
  const shown = pieces.map((piece) => matcher.push(piece)).join('') + matcher.finish()
  return { shown, stopped: matcher.stopped }
}

const letters = (maxLength: number, minLength = 0) =>
  fc.array(fc.constantFrom('a', 'b', 'c', 'é', '😀'), { minLength, maxLength }).map((parts) => parts.join(''))

describe('stop strings', () => {
  test('are found across any split, and the text before them is whole', () => {
    fc.assert(
      fc.property(
        fc.array(letters(5), { maxLength: 12 }),
        fc.array(letters(4, 1), { maxLength: 4 }),
        (pieces, stops) => {
          expect(run(pieces, stops)).toEqual(cutAtStop(pieces.join(''), stops))
        },
      ),
      { numRuns: 2000 },
    )
  })

  test('never show a character that turns out to belong to one', () => {
    fc.assert(
      fc.property(fc.array(letters(3), { maxLength: 12 }), letters(4, 1), (pieces, stop) => {
        const matcher = new StopMatcher([stop])
        const final = cutAtStop(pieces.join(''), [stop]).shown
        let shown = ''
        for (const piece of pieces) {
          shown += matcher.push(piece)
          expect(final.startsWith(shown)).toBe(true)
        }
      }),
    )
  })

  test('hold back no more than what may still become one', () => {
    const matcher = new StopMatcher(['\n\nUser:'])
    expect(matcher.push('Hello\n')).toBe('Hello')
    expect(matcher.push('world')).toBe('\nworld')
    expect(matcher.push('\n\nUs')).toBe('')
    expect(matcher.finish()).toBe('\n\nUs')
  })

  test('that overlap: the one that ends first wins', () => {
    expect(run(['xabcd'], ['abcd', 'bc'])).toEqual({ shown: 'xa', stopped: true })
    expect(run(['xab', 'c'], ['abc', 'bc'])).toEqual({ shown: 'x', stopped: true })
  })
})
