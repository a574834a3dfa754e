import { expect, it } from 'vitest'
import { fakeExamples } from '../../test/fakes/fake-loss-model.ts'
import { Batches, lengthOf } from './batches.ts'

const examples = fakeExamples(103)

it('every epoch has every example once, in an order of its own', () => {
  const batches = new Batches(examples, { size: 8, seed: 5 })
  expect(batches.perEpoch).toBe(13)
  const epoch = (number: number) => Array.from({ length: 13 }, (_, i) => batches.at(number * 13 + i)).flat()
  expect(new Set(epoch(0))).toEqual(new Set(examples))
  expect(epoch(1)).toHaveLength(103)
  expect(new Set(epoch(1))).toEqual(new Set(examples))
  expect(epoch(1)).not.toEqual(epoch(0))
})

it('a batch is the same whether those before it were asked for or not', () => {
  const inOrder = new Batches(examples, { size: 8, seed: 5 })
  for (let i = 0; i < 30; i++) inOrder.at(i)
  expect(new Batches(examples, { size: 8, seed: 5 }).at(30)).toEqual(inOrder.at(30))
})

it('examples of similar length come together', () => {
  const padding = (batch: readonly (typeof examples)[number][]) => {
    const lengths = batch.map(lengthOf)
    return Math.max(...lengths) * lengths.length - lengths.reduce((a, b) => a + b, 0)
  }
  const batches = new Batches(examples, { size: 8, seed: 5 })
  const bucketed = Array.from({ length: 12 }, (_, i) => padding(batches.at(i))).reduce((a, b) => a + b)
  const inFileOrder = Array.from({ length: 12 }, (_, i) => padding(examples.slice(8 * i, 8 * i + 8))).reduce(
    (a, b) => a + b,
  )
  expect(bucketed).toBeLessThan(inFileOrder / 2)
})
