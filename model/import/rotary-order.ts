/**
 * Rows of a q or k matrix [n · headDim, width] (or of its bias, width 1) from a llama GGUF, where a head's rotated
 * pairs lie next to each other (x0 y0 x1 y1 …), in rotate-half order (x0 x1 … y0 y1 …): the inverse of `permute` in
 * llama.cpp's converter.
 */
export function rotateHalfRows(
  matrix: Float32Array,
  { width, headDim }: { width: number; headDim: number },
): Float32Array {
  const ordered = new Float32Array(matrix.length)
  const half = headDim / 2
  for (let row = 0; row < matrix.length / width; row++) {
    const within = row % headDim
    const to = row - within + (within % 2) * half + (within >> 1)
    ordered.set(matrix.subarray(row * width, (row + 1) * width), to * width)
  }
  return ordered
}
