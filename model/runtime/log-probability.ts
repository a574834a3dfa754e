/** log softmax(logits)[id]; NaN for no id. */
export function logProbability(logits: Float32Array, id: number | undefined): number {
  return id === undefined ? Number.NaN : (logits[id] ?? Number.NaN) - logSumExp(logits)
}

/** log Σ exp(x) */
export function logSumExp(values: Float32Array): number {
  let highest = Number.NEGATIVE_INFINITY
  for (const x of values) highest = Math.max(highest, x)
  let sum = 0
  for (const x of values) sum += Math.exp(x - highest)
  return highest + Math.log(sum)
}
