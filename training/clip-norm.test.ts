import { expect, it } from 'vitest'
import { clipNorm } from './clip-norm.ts'

it('gradients are clipped by their norm over all tensors, which is not a number when a value is not', () => {
  const gradients = new Map([
    ['a', Float32Array.of(3)],
    ['b', Float32Array.of(0, 4)],
  ])
  expect(clipNorm(gradients, 5)).toBe(5)
  expect([...gradients.values()].map((values) => [...values])).toEqual([[3], [0, 4]])
  expect(clipNorm(gradients, 2.5)).toBe(5)
  expect([...gradients.values()].map((values) => [...values])).toEqual([[1.5], [0, 2]])
  gradients.set('b', Float32Array.of(Number.NaN))
  expect(clipNorm(gradients, 1)).toBeNaN()
})
