import fc from 'fast-check'
import { expect, test } from 'vitest'
import { maxJsonDepth, parseBounded, RefusedJson } from './json-depth.ts'

const nested = (depth: number, [open, close] = ['[', ']']) => `${open.repeat(depth)}${close.repeat(depth)}`

test('a text is read to the deepest level that is allowed, and refused one level deeper', () => {
  expect(JSON.stringify(parseBounded(nested(maxJsonDepth)))).toBe(nested(maxJsonDepth))
  expect(() => parseBounded(nested(maxJsonDepth + 1))).toThrow(RefusedJson)
  expect(() => parseBounded('{"a":['.repeat(maxJsonDepth))).toThrow(RefusedJson)
})

test('brackets in strings, and lists beside one another, are not deep', () => {
  const strings = [nested(500), '{"'.repeat(500), '\\"['.repeat(500)]
  expect(parseBounded(JSON.stringify(strings))).toEqual(strings)
  const beside = `[${Array.from({ length: 1_000 }, () => '[{}]').join()}]`
  expect(JSON.stringify(parseBounded(beside))).toBe(beside)
})

test('what JSON.parse does not read is a SyntaxError here too', () => {
  for (const text of ['', '"', '"\\', '[', ']]', '{"a":}'])
    expect(() => parseBounded(text)).toThrow(SyntaxError)
})

test('whatever JSON.stringify writes is read as it is', () => {
  fc.assert(
    fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
      const text = JSON.stringify(value)
      expect(parseBounded(text)).toEqual(JSON.parse(text))
    }),
  )
})
