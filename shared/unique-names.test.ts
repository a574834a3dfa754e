import fc from 'fast-check'
import { expect, test } from 'vitest'
import { RefusedJson } from './json-depth.ts'
import { parseUniqueNames } from './unique-names.ts'

test.each([
  '{"a":1,"a":1}',
  '{"a":1,"\\u0061":2}',
  '[{"x":{"b":[],"c":"{","b":null}}]',
  '{"a":{"b":1},"c":["a",{"a":1}],"a":2}',
  '{"__proto__":{}}',
  '{"a":[{"\\u005f_proto__":1}]}',
])('an object that names something twice, or __proto__, is refused: %s', (text) => {
  expect(() => parseUniqueNames(text)).toThrow(/stands there twice|is not allowed/)
})

test.each([
  '{"a":"a","b":{"a":["a","a"]},"c":[{"a":1},{"a":2}]}',
  '["__proto__","__proto__"]',
  '{"a":"__proto__","b":"}{,\\"a\\":"}',
  '" {\\"a\\":1,\\"a\\":2} "',
])('the same text as a value, or in another object, is not: %s', (text) => {
  expect(parseUniqueNames(text)).toEqual(JSON.parse(text))
})

test('whatever JSON.stringify writes is read as it is', () => {
  fc.assert(
    fc.property(fc.jsonValue({ noUnicodeString: false }), fc.constantFrom(undefined, 2), (value, space) => {
      const text = JSON.stringify(value, null, space)
      if (!text.includes('__proto__')) expect(parseUniqueNames(text)).toEqual(JSON.parse(text))
    }),
  )
})

test('a text that is nested too deep is refused with the remedy, as one that names something twice is', () => {
  const refusals = ['['.repeat(300) + ']'.repeat(300), '{"a":1,"a":1}'].map((text) => {
    try {
      return parseUniqueNames(text)
    } catch (thrown) {
      return thrown instanceof RefusedJson ? thrown.remedy : thrown
    }
  })
  expect(refusals).toEqual(['make it flatter', 'name each thing once'])
})
