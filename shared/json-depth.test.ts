import { expect, test } from 'vitest'
import { isTooDeep, maxJsonDepth } from './json-depth.ts'

const nested = (depth: number, inner = '1') => '{"a":['.repeat(depth / 2) + inner + ']}'.repeat(depth / 2)

test.each([
  ['a value without brackets', '"[{"', false],
  ['as many levels as there may be', nested(maxJsonDepth), false],
  ['one list more', nested(maxJsonDepth, '[]'), true],
  ['one object more', nested(maxJsonDepth, '{}'), true],
  ['many lists side by side', `[${'[[]],'.repeat(1_000)}[]]`, false],
  ['brackets in a string', nested(maxJsonDepth, JSON.stringify(`${'['.repeat(500)}\\`)), false],
  ['brackets behind escaped quotes', nested(maxJsonDepth, String.raw`"\\\"[[[["`), false],
  ['a list behind a string that ends with a backslash', nested(maxJsonDepth, String.raw`"\\",[]`), true],
])('JSON is told to be too deep by its brackets alone: %s', (_, json, expected) => {
  expect(isTooDeep(json)).toBe(expected)
})
