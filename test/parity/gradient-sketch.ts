/**
 * A sketch of a tensor: its inner products with `sketchSize` vectors of random signs, or the tensor itself where it is
 * not longer. The mean square of the difference of two sketches is the expected square of the norm of the difference
 * of their tensors, whatever element they differ in (Achlioptas, https://doi.org/10.1016/S0022-0000(03)00025-4).
 */
const sketchSize = 64

export function sketch(values: Float32Array): Float64Array {
  if (values.length <= sketchSize) return Float64Array.from(values)
  return Float64Array.from({ length: sketchSize }, (_, row) =>
    values.reduce((sum, value, i) => sum + (isPositive(i, row) ? value : -value), 0),
  )
}

/** The norm of a tensor, estimated from its sketch. */
export function normOfSketch(of: Float64Array, length: number): number {
  const squares = of.reduce((sum, x) => sum + x * x, 0)
  return Math.sqrt(length <= sketchSize ? squares : squares / sketchSize)
}

/** One bit of a hash of both numbers (murmur3's finalizer). */
function isPositive(i: number, row: number): boolean {
  let h = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(row + 1, 0x85ebca77)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return ((h ^ (h >>> 16)) & 1) === 1
}
