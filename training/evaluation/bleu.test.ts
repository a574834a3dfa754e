import { expect, test } from 'vitest'
import { bleu, bleuCounts, tokenize13a } from './bleu.ts'

// sacrebleu 2.6.0: BLEU().corpus_score(outputs, references) and Tokenizer13a().
test.each([
  {
    name: 'several references of one output',
    outputs: ['the cat is on the mat'],
    references: [['there is a cat on the mat', 'a cat is on the mat']],
    score: 75.98356856515926,
  },
  {
    name: 'punctuation, numbers and entities',
    outputs: [
      "The price is $1,234.50 - that's (almost) 5% off!",
      "It's 3-4 km away, &quot;near&quot; the Rice Boat.",
    ],
    references: [
      ["The price is $1,234.50: that's nearly 5% off."],
      ['It is 3-4 km away, near the Rice Boat.'],
    ],
    score: 45.72313446186435,
  },
  {
    name: 'no match of the longer n-grams, which is smoothed',
    outputs: ['the quick brown fox'],
    references: [['a quick red fox jumps over it']],
    score: 8.9730240870212,
  },
  {
    name: 'a line of JSON',
    outputs: ['{"item":"tea","qty":2}'],
    references: [['{"item":"tea","qty":3}']],
    score: 86.66415730847507,
  },
  {
    name: 'outputs too short for four words',
    outputs: ['a b', 'c'],
    references: [['a b c d e'], ['x']],
    score: 0,
  },
  { name: 'nothing in common', outputs: ['x y z', 'p q'], references: [['a b c'], ['d e']], score: 0 },
  { name: 'an empty output', outputs: [''], references: [['a b c']], score: 0 },
])('BLEU equals sacreBLEU’s: $name', ({ outputs, references, score }) => {
  expect(bleu(outputs.map((output, at) => bleuCounts(output, references[at] ?? [])))).toBeCloseTo(score, 9)
})

test.each([
  ["that's (almost) 5% off!", "that's ( almost ) 5 % off !"],
  ['$1,234.50 on 3-4 May, e.g. here.', '$ 1,234.50 on 3 - 4 May , e . g . here .'],
])('%s is tokenized as mteval-v13a does', (text, tokens) => {
  expect(tokenize13a(text).join(' ')).toBe(tokens)
})
