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

it('rows of a wide random matrix become nearly orthogonal, each about as long as the others', async () => {
  const [rows, columns] = [16, 144]
  let seed = 7
  const values = Float32Array.from({ length: rows * columns }, () => {
    seed = (seed * 16807) % 2147483647
    return seed / 2147483647 - 0.5
  })
  const matrix = { rows, columns, values }
  const result = (await opened().of([matrix])).get(matrix) ?? []
  for (let i = 0; i < rows; i++)
    for (let j = 0; j <= i; j++) {
      let sum = 0
      for (let t = 0; t < columns; t++) sum += (result[i * columns + t] ?? 0) * (result[j * columns + t] ?? 0)
      // The squares of singular values are 0.68² to 1.14².
      if (i === j) expect(sum).toBeGreaterThan(0.46)
      expect(Math.abs(sum)).toBeLessThan(i === j ? 1.3 : 0.25)
    }
})

it('without a matrix it opens nothing, and closing it twice does no harm', async () => {
  const orthogonalizer = opened()
  expect((await orthogonalizer.of([])).size).toBe(0)
  await orthogonalizer.close()
  await orthogonalizer.close()
})
