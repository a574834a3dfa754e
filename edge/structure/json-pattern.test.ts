import { expect, test } from 'vitest'
import { patternInJson } from './json-pattern.ts'

test.each([
  // A class that began with a caret would be printed as its opposite.
  ['[\\^]', '\\^'],
  ['[\\^a]', '[a\\^]'],
  ['[\\^-a]', '[_-a\\^]'],
  ['[a\\^]', '[a\\^]'],
])('%s is written as %s', (pattern, written) => {
  expect(patternInJson(pattern)).toBe(written)
})
