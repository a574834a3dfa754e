import { bytesOf } from './bytes.ts'
import type { MatrixFormat } from './matrix-format.ts'
import type { ElementType } from './values.ts'

/** The largest finite f32. */
export const largestFloat32 = (2 - 2 ** -23) * 2 ** 127

export const f32: MatrixFormat = {
  largest: largestFloat32,
  tensors: ({ rows, columns }) => ({ weights: { type: 'float32', shape: [rows, columns] } }),
  encode: (rows) => ({ weights: bytesOf(rows) }),
  decode: (_shape, stored) => new Float32Array(stored('weights').buffer),
  matrix(_shape, stored) {
    const weights = stored('weights')
    return {
      multiply: (g, x) => g.apply('Gemm', [x, weights], { transB: 1 }),
      gather: (g, ids) => g.apply('Gather', [weights, ids], { axis: 0 }),
    }
  },
}

interface SixteenBits {
  /** The tensor's name. Each type has its own, so that no two formats share a name. */
  readonly name: string
  readonly largest: number
  readonly type: ElementType
  readonly encode: (rows: Float32Array) => Uint8Array
  readonly decode: (bytes: Uint8Array<ArrayBuffer>) => Float32Array
}

/**
 * Weights of 16 bits. The inputs of a product are rounded to the same type; everything between products stays in f32.
 */
function sixteenBits({ name, largest, type, encode, decode }: SixteenBits): MatrixFormat {
  return {
    largest,
    tensors: ({ rows, columns }) => ({ [name]: { type, shape: [rows, columns] } }),
    encode: (rows) => ({ [name]: encode(rows) }),
    decode: (_shape, stored) => decode(stored(name)),
    matrix(_shape, stored, arithmetic) {
      const weights = stored(name)
      return {
        multiply(g, x) {
          if (arithmetic === 'f32')
            return g.apply('Gemm', [x, g.apply('Cast', [weights], { to: 'float32' })], { transB: 1 })
          const product = g.apply('Gemm', [g.apply('Cast', [x], { to: type }), weights], { transB: 1 })
          return g.apply('Cast', [product], { to: 'float32' })
        },
        gather: (g, ids) =>
          g.apply('Cast', [g.apply('Gather', [weights, ids], { axis: 0 })], { to: 'float32' }),
      }
    },
  }
}

/** IEEE 754 binary16. */
export const float16 = sixteenBits({
  name: 'float16',
  largest: 65_504,
  type: 'float16',
  encode: (rows) => bytesOf(Float16Array.from(rows)),
  decode: (bytes) => Float32Array.from(new Float16Array(bytes.buffer)),
})

/** The upper half of an f32, rounded to the nearest, ties to even. */
export const bfloat16 = sixteenBits({
  name: 'bfloat16',
  largest: (2 - 2 ** -7) * 2 ** 127,
  type: 'bfloat16',
  encode(rows) {
    const bits = new Uint32Array(Float32Array.from(rows).buffer)
    return bytesOf(Uint16Array.from(bits, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16))
  },
  decode: (bytes) =>
    new Float32Array(Uint32Array.from(new Uint16Array(bytes.buffer), (half) => half << 16).buffer),
})
