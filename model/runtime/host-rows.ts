import type { KeptRows } from './backend.ts'

/** Rows of every layer: the bytes of keys and values in turn, layer by layer, each [kvHeads, rows of the layer, headDim]. */
export class HostRows implements KeptRows {
  readonly rows: readonly number[]
  readonly data: readonly Uint8Array[]

  constructor({ data, rows }: Pick<HostRows, 'data' | 'rows'>) {
    this.data = data
    this.rows = rows
  }

  /** The garbage collector frees the memory. */
  release(): void {}

  get bytes(): number {
    return this.data.reduce((sum, { byteLength }) => sum + byteLength, 0)
  }
}
