/** Weights of a row that share one scale and one zero point. */
export const blockSize = 32

export interface QuantisedRows {
  /** `round(weight / scale) + zeroPoint` of each weight, 0..255. */
  readonly quants: Uint8Array
  /** One per block. */
  readonly scales: Float32Array
  readonly zeroPoints: Uint8Array
}

/**
 * Eight-bit weights as ONNX Runtime's MatMulNBits reads them: blocks of 32 along a row, weight = (quant − zero
 * point) · scale. Each block's range is widened to hold 0, which it represents exactly.
 *
 * @param weights rows whose width is a multiple of 32, one after the other
 */
export function quantiseRows(weights: Float32Array): QuantisedRows {
  const blocks = weights.length / blockSize
  const quants = new Uint8Array(weights.length)
  const scales = new Float32Array(blocks)
  const zeroPoints = new Uint8Array(blocks)
  for (let block = 0; block < blocks; block++) {
    const start = block * blockSize
    let low = 0
    let high = 0
    for (let i = start; i < start + blockSize; i++) {
      const weight = weights[i] ?? 0
      if (weight < low) low = weight
      else if (weight > high) high = weight
    }
    const scale = Math.fround((high - low) / 255) || 1
    const zeroPoint = Math.round(-low / scale)
    scales[block] = scale
    zeroPoints[block] = zeroPoint
    for (let i = start; i < start + blockSize; i++) {
      const quant = Math.round((weights[i] ?? 0) / scale) + zeroPoint
      quants[i] = quant < 0 ? 0 : quant > 255 ? 255 : quant
    }
  }
  return { quants, scales, zeroPoints }
}
