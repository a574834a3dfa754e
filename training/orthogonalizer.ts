import { float32 } from '../model/runtime/tensors.ts'
import { type MatrixShape, orthogonalGraph } from './graph/orthogonal.ts'
import { LossSession } from './loss/loss-session.ts'

export interface Matrix extends MatrixShape {
  readonly values: Float32Array
}

/** Brings the singular values of matrices near 1, those of one shape in one run (`orthogonalGraph`). */
export class Orthogonalizer {
  readonly #threads: number | undefined
  /** Opened with the first matrix: not every training has one. */
  #session: Promise<LossSession> | undefined

  constructor({ threads }: { threads?: number | undefined } = {}) {
    this.#threads = threads
  }

  /** Each matrix with its orthogonal one. */
  async of<M extends Matrix>(matrices: readonly M[]): Promise<ReadonlyMap<M, Float32Array>> {
    const results = new Map<M, Float32Array>()
    for (const group of Map.groupBy(matrices, shapeOf).values())
      for (const [matrix, orthogonal] of await this.#run(group)) results.set(matrix, orthogonal)
    return results
  }

  /** Matrices of one shape. */
  async #run<M extends Matrix>(group: readonly M[]): Promise<readonly (readonly [M, Float32Array])[]> {
    const [first] = group
    if (first === undefined) return []
    const { columns, rows } = first
    const size = rows * columns
    const [less, more] = rows <= columns ? [rows, columns] : [columns, rows]
    const data = new Float32Array(group.length * size)
    for (const [at, { values }] of group.entries())
      data.set(rows <= columns ? values : transposed(values, { rows, columns }), at * size)
    this.#session ??= LossSession.open(orthogonalGraph(), { threads: this.#threads })
    const session = await this.#session
    const { orthogonal } = await session.run({
      matrices: float32(data, [group.length, less, more]),
      identity: float32(
        Float32Array.from({ length: less ** 2 }, (_, at) => (at % (less + 1) === 0 ? 1 : 0)),
        [less, less],
      ),
    })
    if (orthogonal?.type !== 'float32') throw new Error('the graph gives matrices')
    return group.map((matrix, at) => {
      const result = orthogonal.data.subarray(at * size, (at + 1) * size)
      return [matrix, rows <= columns ? result : transposed(result, { rows: columns, columns: rows })]
    })
  }

  /** One that did not open has failed the update already. */
  async close(): Promise<void> {
    const session = await this.#session?.catch(() => undefined)
    this.#session = undefined
    await session?.release()
  }
}

const shapeOf = ({ columns, rows }: MatrixShape): string => `${rows}x${columns}`

function transposed(x: Float32Array, { rows, columns }: MatrixShape): Float32Array {
  const result = new Float32Array(x.length)
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) result[j * rows + i] = x[i * columns + j] ?? 0
  return result
}
