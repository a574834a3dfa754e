import { expect, test } from 'vitest'
import { rougeL } from './rouge.ts'

// rouge_score 0.1.2: RougeScorer(['rougeL']).score(reference, output)['rougeL'].fmeasure
test.each([
  ['the cat is on the mat', ['there is a cat on the mat'], 0.6153846153846153],
  ['the cat is on the mat', ['there is a cat on the mat', 'a cat is on the mat'], 0.8333333333333334],
  [
    "The price is $1,234.50 - that's (almost) 5% off!",
    ["The price is $1,234.50: that's nearly 5% off."],
    0.9090909090909091,
  ],
  ['One sentence. Two sentences!', ['Two sentences. One sentence!'], 0.5],
  ['x y z', ['a b c'], 0],
  ['', ['a b c'], 0],
  ['…', ['a b c'], 0],
])('ROUGE-L of “%s” equals that of the reference implementation', (output, references, score) => {
  expect(rougeL(output, references)).toBeCloseTo(score, 12)
})

test('scripts other than Latin have words too', () => {
  expect(rougeL('Привет мир', ['Привет, мир!'])).toBe(1)
})
