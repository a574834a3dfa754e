import type * as Xgrammar from '@mlc-ai/web-xgrammar'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { withDistinctAlternatives } from './distinct-alternatives.ts'
import { loadXgrammar } from './xgrammar.ts'

/** A token a byte, as a tokenizer with byte fallback has them, and the end behind them. */
const end = 256
const tokens = [
  ...Array.from({ length: end }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
  '</s>',
]

let library: typeof Xgrammar
let compiler: Xgrammar.GrammarCompiler
beforeAll(async () => {
  library = loadXgrammar()
  const info = await library.TokenizerInfo.createTokenizerInfo(
    tokens,
    'byte_fallback',
    false,
    tokens.length,
    [end],
  )
  compiler = await library.GrammarCompiler.createGrammarCompiler(info, false)
})

/** Each text of up to `most` bytes that the grammar takes, once its alternatives are distinct. */
async function language(printed: string, most: number): Promise<readonly string[]> {
  const compiled = await compiler.compileGrammar(
    await library.Grammar.fromEBNF(withDistinctAlternatives(printed)),
  )
  const found: string[] = []
  const walk = async (bytes: readonly number[]): Promise<void> => {
    const matcher = await library.GrammarMatcher.createGrammarMatcher(compiled, [end])
    for (const byte of bytes) matcher.acceptToken(byte)
    const mask = await matcher.getNextTokenBitmask()
    matcher.dispose()
    for (let id = 0; id <= end; id++) {
      if ((((mask[id >>> 5] ?? 0) >>> (id & 31)) & 1) === 0) continue
      if (id === end) found.push(new TextDecoder().decode(Uint8Array.from(bytes)))
      else if (bytes.length < most) await walk([...bytes, id])
    }
  }
  await walk([])
  return found.sort()
}

const printedEbnf = async (ebnf: string) => (await library.Grammar.fromEBNF(ebnf)).toString()

describe('a grammar whose alternatives begin alike takes these and no others', () => {
  test('integers of an enum', async () => {
    const enums = fc.uniqueArray(fc.integer({ min: -120, max: 300 }), { minLength: 1, maxLength: 9 })
    await fc.assert(
      fc.asyncProperty(enums, async (values) => {
        const schema = JSON.stringify({ enum: values })
        const grammar = await library.Grammar.fromJSONSchema(schema, false, -1, undefined, true)
        expect(await language(grammar.toString(), 6)).toEqual(values.map(String).sort())
      }),
      { numRuns: 40, examples: [[[-20, -19, -2, -1, 0, 1]], [[106, 107, 127, 131, 139, 287, 32]]] },
    )
  })

  test('words that begin or end alike, with characters that share their first bytes', async () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', '"', ' ', 'é', 'è', '😀', '😁'), maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(word, { minLength: 1, maxLength: 8 }), async (words) => {
        const ebnf = `root ::= ${words.map((each) => JSON.stringify(each)).join(' | ')}`
        expect(await language(await printedEbnf(ebnf), 14)).toEqual([...words].sort())
      }),
      { numRuns: 40, examples: [[['', 'aaa', 'aba', 'abb', 'b', 'baa', 'bab']], [['é', 'è', 'aé', 'ae']]] },
    )
  })

  test.each([
    ['root ::= [a-z]* [a-z] "c" "d"', /^[a-z]*[a-z]cd$/],
    ['root ::= [^a] "x" | [^é] "y"', /^(?:[^a]x|[^é]y)$/u],
    ['root ::= [á-ée] [^è€😀]', /^[á-ée][^è€😀]$/u],
    ['root ::= [\\u0370-\\uffff] | [\\x7f-\\u00e8] "x"', /^(?:[\u0370-\uffff]|[\x7f-\u00e8]x)$/u],
    ['root ::= [^éa-c]* "a"', /^[^éa-c]*a$/u],
    ['root ::= pair "a" | "q" "b"\npair ::= "q" | "r"', /^(?:[qr]a|qb)$/],
    ['root ::= "-" [0-9]+ | "-" "x" | [0-9] | "7" "x"', /^(?:-\d+|-x|\d|7x)$/],
    ['root ::= ("ab" | "a"){2,3} | "abb"', /^(?:(?:ab|a){2,3}|abb)$/],
  ])('%s', async (ebnf, expected) => {
    const alphabet = ['a', 'b', 'c', 'd', 'q', 'r', 'x', 'y', '-', '7', 'é', 'è', '€', '😀']
    const texts = alphabet.flatMap((a) =>
      ['', ...alphabet].flatMap((b) => ['', ...alphabet].map((c) => `${a}${b}${c}`)),
    )
    const compiled = await compiler.compileGrammar(
      await library.Grammar.fromEBNF(withDistinctAlternatives(await printedEbnf(ebnf))),
    )
    const takes = async (text: string) => {
      const matcher = await library.GrammarMatcher.createGrammarMatcher(compiled, [end])
      const taken = [...new TextEncoder().encode(text), end].every((byte) => matcher.acceptToken(byte))
      matcher.dispose()
      return taken
    }
    for (const text of new Set(texts)) expect(await takes(text), text).toBe(expected.test(text))
  })
})
