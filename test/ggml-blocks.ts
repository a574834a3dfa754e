import { ggmlTypes } from '../model/import/element-types.ts'
import { Random } from '../shared/prng.ts'

/** Where the f16 numbers of a block of a GGUF type lie: scale, and minimum where it has one. */
const halves: Readonly<Record<string, readonly number[]>> = { Q4_0: [0], Q4_1: [0, 2], Q4_K: [0, 2] }

/** Blocks of a GGUF type: random bytes, with f16 numbers between 2^−8 and 2^−7. */
export function randomBlocks(name: string, count: number): { bytes: Uint8Array; weights: Float32Array } {
  const format = ggmlTypes[name]
  if (format === undefined || halves[name] === undefined) throw new Error(`no blocks of ${name}`)
  const random = new Random(3)
  const bytes = Uint8Array.from({ length: count * format.bytes }, () => Math.floor(random.next() * 256))
  const from = new DataView(bytes.buffer)
  for (let block = 0; block < count; block++)
    for (const half of halves[name])
      from.setUint16(block * format.bytes + half, 0x1c00 | Math.floor(random.next() * 1024), true)
  const weights = new Float32Array(count * format.elements)
  format.decode({ from, count, to: weights })
  return { bytes, weights }
}
