import { expect, it } from 'vitest'
import { differenceOfSize, largestDifference } from './logit-differences.ts'

it('logits that lie apart have a difference, by the largest of one and against the size of all', () => {
  expect(largestDifference([1, -2, 3], [1, -2.5, 3.25])).toBe(0.5)
  expect(differenceOfSize([3, 4], [3, 4])).toBe(0)
  expect(differenceOfSize([3, 4], [6, 8])).toBe(1)
})

it('a single logit that is no number or is missing makes the whole difference no number', () => {
  for (const difference of [largestDifference, differenceOfSize]) {
    expect(difference([1, 2, 3], [1, Number.NaN, 3])).toBeNaN()
    expect(difference([1, Number.NaN, 3], [1, 2, 3])).toBeNaN()
    expect(difference([1, 2, 3], [1, 2])).toBeNaN()
    expect(difference([1, 2], [1, 2, 3])).toBeNaN()
  }
})
