import { expect, it } from 'vitest'
import type { Example } from '../loss-model.ts'
import { splitDev } from './split.ts'
import { overlap, survey } from './survey.ts'

const example = (prompt: number, answer: number, length = 1): Example => ({
  instruction: [prompt, ...Array<number>(length - 1).fill(0)],
  response: [answer],
})

it('a survey counts repetitions, prompts with several answers, and prompts beyond the window', () => {
  const examples = [example(1, 1), example(1, 1), example(1, 2), example(2, 1), example(3, 3, 9)]
  expect(survey(examples, { window: 8 })).toMatchObject({
    examples: 5,
    beyondWindow: 1,
    duplicates: 1,
    ambiguousPrompts: 1,
    distinctResponses: 3,
    promptTokens: { least: 1, median: 1, p90: 9, p99: 9, most: 9 },
  })
})

it('dev examples overlap by their prompt, whatever the answer', () => {
  expect(overlap({ train: [example(1, 1), example(2, 1)], dev: [example(2, 5), example(3, 1)] })).toBe(1)
})

it('a dev share is set apart by prompt, the same for the same seed', () => {
  const examples = Array.from({ length: 100 }, (_, i) => example(i % 50, i))
  const { train, dev } = splitDev(examples, { share: 0.2, seed: 1 })
  expect(dev).toHaveLength(20)
  expect(train).toHaveLength(80)
  expect(overlap({ train, dev })).toBe(0)
  expect(splitDev(examples, { share: 0.2, seed: 1 })).toEqual({ train, dev })
  expect(splitDev(examples, { share: 0.2, seed: 2 }).dev).not.toEqual(dev)
})

it('two prompts are enough for a split, one is not, and a share of zero sets nothing apart', () => {
  const two = [example(1, 1), example(2, 1)]
  expect(splitDev(two, { share: 0.1, seed: 0 })).toMatchObject({ train: [{}], dev: [{}] })
  const one = [example(1, 1), example(1, 2)]
  expect(() => splitDev(one, { share: 0.1, seed: 0 })).toThrow(/same prompt.*--dev/)
  expect(splitDev(one, { share: 0, seed: 0 })).toEqual({ train: one, dev: [] })
})
