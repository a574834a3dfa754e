/**
 * The CPU's attention takes so many queries at a time, or a multiple: twice a head's width, or what fits the processor's
 * second-level cache (`MlasFlashAttention`).
 */
const queryBlock = 32

/**
 * Whether the last query of a run over so many rows may stand alone in its block. One alone is multiplied by other kernels
 * (a vector by a matrix), so that its logits would depend on how a prompt was cut into runs.
 */
export const hasLoneQuery = (rows: number): boolean => rows % queryBlock === 1
