import { expect, it } from 'vitest'
import { type Figure, isGood, lineOf } from './report.ts'

const figure = (value: number, bound?: Figure['bound']): Figure => ({
  name: 'a figure',
  value,
  unit: '×',
  ...(bound && { bound }),
})

it('a figure that is no finite number does not hold, with a bound of any kind or without one', () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
    for (const bound of [undefined, { kind: 'at most', value: 1 }, { kind: 'at least', value: 1 }] as const) {
      expect(isGood(figure(value, bound)), `${value}`).toBe(false)
      expect(lineOf(figure(value, bound))).toMatch(/: (?:NaN|-?Infinity) × .*NO$/)
    }
  expect(isGood(figure(1))).toBe(true)
  expect(isGood(figure(1, { kind: 'at most', value: 1 }))).toBe(true)
  expect(isGood(figure(1, { kind: 'at least', value: 1.1 }))).toBe(false)
})

it('a part that threw makes a benchmark fail, and one that was left out for a reason does not', () => {
  const failed = {
    name: 'a part',
    failure: { code: 'node_error', message: 'out of memory', doing: 'decoding' },
  }
  expect(isGood(failed)).toBe(false)
  expect(lineOf(failed)).toBe('a part: FAILED node_error while decoding: out of memory')
  expect(isGood({ name: 'a part', leftOut: 'no time' })).toBe(true)
})
