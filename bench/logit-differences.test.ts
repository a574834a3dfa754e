import { expect, it } from 'vitest'
import { differenceOfSize, Logits, largestDifference } from './logit-differences.ts'

const logits = (...values: number[]) => Float32Array.from(values)

it('logits that lie apart have a difference, by the largest of one and against the size of all', () => {
  expect(largestDifference(logits(1, -2, 3), logits(1, -2.5, 3.25))).toBe(0.5)
  expect(differenceOfSize(logits(3, 4), logits(3, 4))).toBe(0)
  expect(differenceOfSize(logits(3, 4), logits(6, 8))).toBe(1)
})

it('a single logit that is no number or is missing makes the whole difference no number', () => {
  for (const difference of [largestDifference, differenceOfSize]) {
    expect(difference(logits(1, 2, 3), logits(1, Number.NaN, 3))).toBeNaN()
    expect(difference(logits(1, Number.NaN, 3), logits(1, 2, 3))).toBeNaN()
    expect(difference(logits(1, 2, 3), logits(1, 2))).toBeNaN()
    expect(difference(logits(1, 2), logits(1, 2, 3))).toBeNaN()
  }
})

it('logits of many runs over a vocabulary of a million tokens are taken together, as they were when they came', () => {
  const all = new Logits()
  const reused = new Float32Array(1_000_000)
  for (const value of [1, 2]) all.add(reused.fill(value))
  const found = all.all()
  expect([found.length, found[0], found[999_999], found[1_000_000]]).toEqual([2_000_000, 1, 1, 2])
})
