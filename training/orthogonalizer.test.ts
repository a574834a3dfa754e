import { expect, it, onTestFinished } from 'vitest'
import { type Matrix, Orthogonalizer } from './orthogonalizer.ts'

function opened(): Orthogonalizer {
  const orthogonalizer = new Orthogonalizer({ threads: 1 })
  onTestFinished(() => orthogonalizer.close())
  return orthogonalizer
}

const wide: Matrix = { rows: 2, columns: 4, values: Float32Array.of(3, 1, -2, 0.5, 0.25, -1, 4, 2) }
const tall: Matrix = { rows: 4, columns: 2, values: Float32Array.of(3, 0.25, 1, -1, -2, 4, 0.5, 2) }
const zero: Matrix = { rows: 2, columns: 4, values: new Float32Array(8) }

/** numpy, five rounds of the iteration on X itself in f64. */
const expected = [
  0.652580972, 0.205937513, -0.390479068, 0.129713705, 0.083739708, -0.195885102, 0.804936366, 0.418515152,
]

it('wide and tall matrices together become those that an independent implementation gives', async () => {
  const results = await opened().of([tall, wide, zero])
  for (const [at, value] of expected.entries()) expect(results.get(wide)?.[at]).toBeCloseTo(value, 5)
  for (const [at, value] of expected.entries())
    expect(results.get(tall)?.[(at % 4) * 2 + Math.floor(at / 4)]).toBeCloseTo(value, 5)
  expect(results.get(zero)).toEqual(new Float32Array(8))
})

it('directions up to a hundred times as weak as the strongest come out about as strong', async () => {
  const [rows, columns] = [6, 24]
  let seed = 7
  const values = Float32Array.from({ length: rows * columns }, (_, at) => {
    seed = (seed * 16807) % 2147483647
    // All rows have one direction in common, and less and less of their own.
    return Math.cos(at % columns) + (seed / 2147483647 - 0.5) * 0.5 ** Math.floor(at / columns)
  })
  const gramOf = (matrix: ArrayLike<number>) =>
    Array.from({ length: rows ** 2 }, (_, at) => {
      const [i, j] = [Math.floor(at / rows), at % rows]
      let sum = 0
      for (let t = 0; t < columns; t++) sum += (matrix[i * columns + t] ?? 0) * (matrix[j * columns + t] ?? 0)
      return sum
    })
  const matrix = { rows, columns, values }
  const result = (await opened().of([matrix])).get(matrix) ?? []
  // Singular values of 0.68 to 1.14 keep the Gram matrix within these bounds; its start is far outside.
  const isBetween = (gram: readonly number[]) =>
    gram.every((value, at) =>
      at % (rows + 1) === 0 ? value > 0.46 && value < 1.3 : Math.abs(value) < (1.3 - 0.46) / 2,
    )
  const total = gramOf(values).reduce((sum, value, at) => sum + (at % (rows + 1) === 0 ? value : 0), 0)
  expect(isBetween(gramOf(values).map((value) => (value * rows) / total))).toBe(false)
  expect(isBetween(gramOf(result))).toBe(true)
})

it.each([1e-25, 1e-14])('a matrix of values of %d stays finite and as small', async (value) => {
  const matrix = { rows: 2, columns: 3, values: new Float32Array(6).fill(value) }
  for (const result of (await opened().of([matrix])).get(matrix) ?? [])
    expect(Math.abs(result)).toBeLessThan(1)
})

it('closing it twice does no harm, and it opens again when it is needed', async () => {
  const orthogonalizer = opened()
  await orthogonalizer.of([wide])
  await orthogonalizer.close()
  await orthogonalizer.close()
  expect((await orthogonalizer.of([wide])).size).toBe(1)
})
