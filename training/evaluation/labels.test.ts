import { expect, test } from 'vitest'
import { labelReport } from './labels.ts'

test('figures per label and the confusion matrix are those of counting by hand', () => {
  const of = (expected: string, chosen: string) => ({ prompt: 'p', expected, chosen })
  const labels = [of('a', 'a'), of('a', 'a'), of('a', 'b'), of('b', 'b'), of('b', 'a')]
  const { confusion, labels: figures, macroF1 } = labelReport(labels, ['a', 'b', 'c'])
  expect(confusion).toEqual([
    [2, 1, 0],
    [1, 1, 0],
    [0, 0, 0],
  ])
  expect(figures).toEqual([
    { label: 'a', examples: 3, chosen: 3, precision: 2 / 3, recall: 2 / 3, f1: 2 / 3 },
    { label: 'b', examples: 2, chosen: 2, precision: 1 / 2, recall: 1 / 2, f1: 1 / 2 },
    { label: 'c', examples: 0, chosen: 0, f1: 0 },
  ])
  expect(macroF1).toBeCloseTo((2 / 3 + 1 / 2) / 2)
})
