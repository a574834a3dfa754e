import { expect, it } from 'vitest'
import { comparedFigures, decodeRate } from './before-measures.ts'
import { isGood } from './report.ts'
import { compare } from './statistics.ts'

/** The rows of rounds in which the two sides had these values, and whether the last of them holds. */
async function rowsOf(unit: 'ms' | 'tok/s', rounds: readonly (readonly [own: number, other: number])[]) {
  // Each side is measured once before the rounds.
  const values = (side: 0 | 1) => {
    const left = [1, ...rounds.map((round) => round[side])]
    return async () => left.shift() ?? Number.NaN
  }
  const figures = comparedFigures(
    { name: 'x', unit },
    await compare(rounds.length, { a: values(0), b: values(1) }),
  )
  return { figures, holds: figures.every(isGood) }
}

it('a rate may be lower than the other checkout’s by 3 %, and a time longer by 3 %, and no more', async () => {
  expect((await rowsOf('tok/s', [[97, 100]])).holds).toBe(true)
  expect((await rowsOf('tok/s', [[96.9, 100]])).holds).toBe(false)
  expect((await rowsOf('ms', [[103, 100]])).holds).toBe(true)
  expect((await rowsOf('ms', [[103.1, 100]])).holds).toBe(false)
  // Better is never a fault.
  expect((await rowsOf('tok/s', [[300, 100]])).holds).toBe(true)
  expect((await rowsOf('ms', [[30, 100]])).holds).toBe(true)
})

it('sides are held against each other round by round, so that a drift of the machine cancels', async () => {
  const { figures, holds } = await rowsOf('tok/s', [
    [100, 100],
    [50, 50],
    [99, 90],
  ])
  expect(holds).toBe(true)
  expect(figures.map(({ name, note, value }) => ({ name, note, value }))).toEqual([
    { name: 'x: this checkout', note: undefined, value: 99 },
    { name: '… the other', note: undefined, value: 90 },
    { name: 'x: this / the other', note: '1.000 to 1.100 in its rounds', value: 1 },
  ])
})

it('the rate of streams counts no prefill', () => {
  const answers = [
    { firstTokenMs: 500, totalMs: 1_500 },
    { firstTokenMs: 9_000, totalMs: 10_000 },
  ]
  expect(decodeRate(answers, { newTokens: 101, streams: 2 })).toBe(200)
  // Streams one after the other are each alone.
  expect(decodeRate(answers, { newTokens: 101, streams: 1 })).toBe(100)
})
