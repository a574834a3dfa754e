import { expect, it } from 'vitest'
import { fakeExamples } from '../../test/fakes/fake-loss-model.ts'
import { lengthOf } from './batches.ts'
import { runsOf, type Stretch } from './runs.ts'

const examples = fakeExamples(20)

/** Prompt rows in sequences that are padded to the longest one. */
const padded = (promptRows: number) => ({
  contextLength: 1024,
  rowsOf: (run: readonly Stretch[]) => promptRows + Math.max(...run.map(lengthOf)),
})

it('runs keep to the limit of rows with padding and prompt rows, and a longer example runs alone', () => {
  const long = { instruction: Array<number>(90).fill(1), response: [1, 2] }
  const runs = runsOf([...examples, long], { examples: 6, rows: 60, ...padded(3) })
  expect(
    runs
      .flat()
      .map(({ index }) => index)
      .sort((a, b) => a - b),
  ).toEqual(Array.from({ length: 21 }, (_, index) => index))
  expect(runs.at(-1)).toEqual([{ ...long, index: 20, unscored: 0 }])
  for (const run of runs.slice(0, -1)) {
    expect(run.length).toBeLessThanOrEqual(6)
    expect(run.length * (3 + Math.max(...run.map(lengthOf)))).toBeLessThanOrEqual(60)
  }
})

it('a response longer than a run is read several times, and each of its tokens gives its loss once', () => {
  const response = [3, 4, 5, 6, 7]
  const runs = runsOf([{ instruction: [1, 2], response }], { examples: 16, rows: 2, ...padded(0) })
  expect(runs.flat().map((stretch) => stretch.response.slice(stretch.unscored))).toEqual([
    [3, 4],
    [5, 6],
    [7],
  ])
  for (const { index, instruction, response: read } of runs.flat()) {
    expect({ index, instruction }).toEqual({ index: 0, instruction: [1, 2] })
    expect(response.slice(0, read.length)).toEqual(read)
  }
})

it('stretches of similar length come together, and a long one is alone', () => {
  const example = (length: number) => ({ instruction: Array<number>(length).fill(1), response: [2] })
  const sizes = (...lengths: number[]) =>
    runsOf(lengths.map(example), { examples: 16, rows: 44, ...padded(4) }).map((run) => run.length)
  expect(sizes(6, 6, 6, 6, 6)).toEqual([4, 1])
  expect(sizes(6, 16, 6)).toEqual([2, 1])
  expect(sizes(100, 1, 100)).toEqual([1, 1, 1])
})

it('rows of a run are counted as its sequences are padded, and no sequence is longer than the context', () => {
  const example = (front: number, behind: number) => ({
    instruction: Array<number>(front).fill(1),
    response: Array<number>(behind).fill(2),
  })
  const rowsOf = (run: readonly Stretch[]) =>
    Math.max(...run.map(({ instruction }) => instruction.length)) +
    Math.max(...run.map(({ response }) => response.length))
  const sizes = (limits: { rows: number; contextLength: number }) =>
    runsOf([example(30, 2), example(2, 30), example(30, 2)], { examples: 3, rowsOf, ...limits }).map(
      (run) => run.length,
    )
  expect(sizes({ rows: 200, contextLength: 64 })).toEqual([3])
  expect(sizes({ rows: 150, contextLength: 64 })).toEqual([2, 1])
  expect(sizes({ rows: 200, contextLength: 59 })).toEqual([1, 1, 1])
})
