import fc from 'fast-check'
import { expect, test } from 'vitest'
import { checkApiKey, mintApiKey } from './api-key.ts'

test('a minted key is well formed and never minted twice', () => {
  const keys = Array.from({ length: 500 }, mintApiKey)
  for (const key of keys) expect(checkApiKey(key)).toBe(key)
  expect(new Set(keys).size).toBe(keys.length)
})

test('a key with one character changed is refused without a look-up', () => {
  const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
  const key = mintApiKey()
  fc.assert(
    fc.property(fc.nat(key.length - 1), fc.constantFrom(...base62), (at, character) => {
      fc.pre(key[at] !== character)
      expect(() => checkApiKey(key.slice(0, at) + character + key.slice(at + 1))).toThrow(/malformed/)
    }),
  )
})

test.each(['', 'qk_', 'sk-abc', 'qk_wrong', `${mintApiKey()} `, mintApiKey().slice(0, -1)])(
  '%j is refused',
  (key) => {
    expect(() => checkApiKey(key)).toThrow(/malformed/)
  },
)
