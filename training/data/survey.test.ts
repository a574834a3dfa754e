import { expect, it } from 'vitest'
import type { FileExample } from './dataset.ts'
import { splitDev } from './split.ts'
import { overlap, survey } from './survey.ts'

let lines = 0
const example = (prompt: number, answer: number, { length = 1, line = ++lines } = {}): FileExample => ({
  instruction: [prompt, ...Array<number>(length - 1).fill(0)],
  response: [answer],
  line,
})

it('a survey counts repetitions, prompts with several answers, and prompts beyond the window', () => {
  const examples = [example(1, 1), example(1, 1), example(1, 2), example(2, 1), example(3, 3, { length: 9 })]
  expect(survey(examples, { window: 8 })).toMatchObject({
    examples: 5,
    beyondWindow: 1,
    duplicates: 1,
    ambiguousPrompts: 1,
    distinctResponses: 3,
    promptTokens: { least: 1, median: 1, p90: 9, p99: 9, most: 9 },
  })
})

it('where rows stand at a newest turn, what is in front of it is not counted as beyond the window', () => {
  const examples = [2, 0].map((turn) => ({ ...example(3, 3, { length: 9 }), turn }))
  expect(survey(examples, { window: 8 }).beyondWindow).toBe(2)
  expect(survey(examples, { window: 8, placement: 'turn' }).beyondWindow).toBe(1)
})

it('what stands behind late rows is not counted as beyond the window', () => {
  const examples = [undefined, 4].map((tail) => ({ ...example(3, 3, { length: 12 }), tail }))
  expect(survey(examples, { window: 8, placement: 'late', tail: 3 }).beyondWindow).toBe(1)
  expect(survey(examples, { window: 7, placement: 'late', tail: 3 }).beyondWindow).toBe(2)
  expect(survey(examples, { window: 9, placement: 'late', tail: 3 }).beyondWindow).toBe(0)
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

it('at most 200 are set apart, however many there are', () => {
  const examples = Array.from({ length: 4_000 }, (_, i) => example(i, i))
  expect(splitDev(examples, { share: 0.1, seed: 0 }).dev).toHaveLength(200)
})

it.each([0, 1, 2, 3, 4, 5])(
  'a prompt with most of the examples stays on the training side (seed %i)',
  (seed) => {
    const examples = Array.from({ length: 1_000 }, (_, i) => example(i < 900 ? 0 : i, i))
    const { train, dev } = splitDev(examples, { share: 0.1, seed })
    expect({ train: train.length, dev: dev.length }).toEqual({ train: 900, dev: 100 })
  },
)

it('where every prompt has more examples than are wanted, those of the rarest are set apart', () => {
  const examples = Array.from({ length: 100 }, (_, i) => example(i < 60 ? 0 : 1, i))
  expect(splitDev(examples, { share: 0.1, seed: 0 }).dev).toHaveLength(40)
  expect(() => splitDev(examples.slice(0, 61), { share: 0.1, seed: 0 })).not.toThrow()
})

it('the answers of a conversation stay on one side, with all that share a prompt with one of them', () => {
  const examples = [1, 2, 3, 4].flatMap((line) => [
    example(line, 1, { line }),
    example(10 + line, 2, { line }),
    example(line === 4 ? 11 : 20 + line, 3, { line }),
  ])
  const { train, dev } = splitDev(examples, { share: 0.25, seed: 0 })
  expect(dev).toHaveLength(3)
  expect(new Set(dev.map(({ line }) => line)).size).toBe(1)
  expect(dev.map(({ line }) => line)).not.toContain(4)
  expect(overlap({ train, dev })).toBe(0)
})

it('two prompts are enough for a split, one is not, and a share of zero sets nothing apart', () => {
  const two = [example(1, 1), example(2, 1)]
  expect(splitDev(two, { share: 0.1, seed: 0 })).toMatchObject({ train: [{}], dev: [{}] })
  const one = [example(1, 1), example(1, 2)]
  expect(() => splitDev(one, { share: 0.1, seed: 0 })).toThrow(/same prompt.*--dev/)
  expect(splitDev(one, { share: 0, seed: 0 })).toEqual({ train: one, dev: [] })
})

it('never more than half of the examples are set apart', () => {
  const three = [1, 2, 3].map((prompt) => example(prompt, 1))
  expect(splitDev(three, { share: 0.5, seed: 0 })).toMatchObject({ train: [{}, {}], dev: [{}] })
  const fifteen = Array.from({ length: 15 }, (_, i) => example(i, i))
  expect(splitDev(fifteen, { share: 0.5, seed: 0 }).dev).toHaveLength(7)
})
