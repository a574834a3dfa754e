import { expect, test } from 'vitest'
import { fromOniguruma } from './oniguruma.ts'

const matches = (pattern: string, text: string) =>
  Array.from(text.matchAll(new RegExp(fromOniguruma(pattern), 'gu')), ([match]) => match)

test.for<[string, string, string[]]>([
  ['\\s+', 'a\u0085b\ufeffc d', ['\u0085', ' ']],
  ['\\d', '1٣a', ['1', '٣']],
  ['\\w+', 'añ_ b', ['añ_', 'b']],
  ['.', '\n\r\u2028', ['\r', '\u2028']],
  ["(?i:'s|'k)t", "'ſt 'Kt 'ST", ["'ſt", "'Kt"]],
  ['[^\\s\\p{L}]+', 'a,b\u0085!', [',', '!']],
  ['a?+a', 'aaa', ['aa']],
  ['a++b|a', 'aab a', ['aab', 'a']],
  ['(?>a|ab)c', 'abc ac', ['ac']],
  ['\\p{Han}+', 'x漢字y', ['漢字']],
  ['x{,2}', 'xxx', ['xx', 'x', '']],
  ['\\x{41}|\\u0042', 'ABC', ['A', 'B']],
  ['[!-/:-@\\[-`{-~]', 'a{[-', ['{', '[', '-']],
])('%s means the same as in the reference', ([pattern, text, expected]) => {
  expect(matches(pattern, text)).toEqual(expected)
})

test.for(['(?<name>a)', '[a[b]]', '\\G', '\\p{Nothing}', '(a', 'a)', '[a'])('%s is refused', (pattern) => {
  expect(() => fromOniguruma(pattern)).toThrow()
})
