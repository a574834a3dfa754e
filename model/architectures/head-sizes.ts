import type { Settings } from './settings.ts'
import { sizeLimits } from './size-limits.ts'

interface HeadSizes {
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
}

interface HeadKeys {
  /** The hidden size's. */
  readonly width: string
  readonly heads: string
  readonly kvHeads: string
  readonly headDim: string
}

/**
 * The heads that a file states, under its own keys. A head's size is the hidden size shared among the heads where the
 * file does not state it. Throws `backbone_invalid` that names the key.
 */
export function headSizes(
  settings: Settings,
  { keys, d, defaults = {} }: { keys: HeadKeys; d: number; defaults?: Partial<HeadSizes> },
): HeadSizes {
  const heads = settings.size(keys.heads, { most: sizeLimits.heads, fallback: defaults.heads })
  const stated = settings.optionalNumber(keys.headDim) ?? defaults.headDim
  if (stated === undefined && d % heads !== 0)
    throw settings.invalid(
      keys.heads,
      `is ${heads}, which does not divide ${keys.width} ${d}; correct it, or state ${keys.headDim}`,
    )
  const headDim = settings.size(keys.headDim, { most: sizeLimits.headDim, fallback: stated ?? d / heads })
  if (headDim % 2 !== 0)
    throw settings.invalid(
      keys.headDim,
      `is ${headDim}; rotary positions turn pairs of numbers, so it must be even`,
    )
  const kvHeads = settings.size(keys.kvHeads, {
    most: sizeLimits.kvHeads,
    fallback: defaults.kvHeads ?? heads,
  })
  if (heads % kvHeads !== 0)
    throw settings.invalid(
      keys.kvHeads,
      `is ${kvHeads}, and ${keys.heads} is ${heads}: ${heads} heads cannot be shared by ${kvHeads} evenly`,
    )
  return { heads, kvHeads, headDim }
}
