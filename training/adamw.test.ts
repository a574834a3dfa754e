import { expect, it } from 'vitest'
import { AdamW, clipNorm } from './adamw.ts'

const gradients = [
  [0.3, -2],
  [-0.1, 0.5],
  [1e-3, 4],
]

const follow = (optimizer: AdamW, steps: readonly (readonly number[])[]) => {
  for (const step of steps) optimizer.update(new Map([['w', Float32Array.from(step)]]), 1)
}

const of = (values: readonly number[]) => new Map([['w', Float32Array.from(values)]])

it('three steps end where an independent implementation in Python does', () => {
  const optimizer = new AdamW(of([0.5, -1]), { groupOf: () => ({ rate: 0.1, decay: 0.01 }) })
  follow(optimizer, gradients)
  const [a = 0, b = 0] = optimizer.parameters.get('w') ?? []
  expect(a).toBeCloseTo(0.327580513, 6)
  expect(b).toBeCloseTo(-0.890485489, 6)
})

it('goes on from its moments as if nothing had happened, and leaves them alone', () => {
  const groupOf = () => ({ rate: 0.1, decay: 0 })
  const whole = new AdamW(of([0.5, -1]), { groupOf })
  follow(whole, gradients)
  const first = new AdamW(of([0.5, -1]), { groupOf })
  follow(first, gradients.slice(0, 2))
  const { parameters, moments } = first
  const kept = structuredClone(moments)
  const second = new AdamW(parameters, { groupOf, moments })
  follow(second, gradients.slice(2))
  expect(second.parameters).toEqual(whole.parameters)
  expect(moments).toEqual(kept)
})

it('decay pulls at the values whatever the gradient; without it a zero gradient changes nothing', () => {
  const decayed = new AdamW(of([1]), { groupOf: () => ({ rate: 0.1, decay: 0.5 }) })
  follow(decayed, [[0]])
  expect(decayed.parameters.get('w')?.[0]).toBeCloseTo(0.95, 6)
  const still = new AdamW(of([1]), { groupOf: () => ({ rate: 0.1, decay: 0 }) })
  follow(still, [[0]])
  expect(still.parameters.get('w')?.[0]).toBe(1)
})

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
