import type { AdapterMetadata } from '../../shared/adapter-file.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Parameters } from '../loss/loss-model.ts'
import { parameterPart } from '../parameter-groups.ts'
import { layerOf } from './fresh.ts'
import { ownRows } from './own-rows.ts'

/** A text as it enters every layer. */
export interface TracedText {
  readonly tokens: number
  /** Hidden states of its tokens, [layers, tokens, d]. */
  readonly hidden: Float32Array
}

/**
 * Replaces the rows of `parameters` by those of a text, in order; rows beyond the text's tokens stay as they are.
 * Each is scaled to unit RMS: the layer's norm undoes that, and it keeps the rates' meaning.
 *
 * Throws `invalid_request` for a text with more tokens than there are rows, and for a kind without rows of its own.
 */
export function startFromText(
  parameters: Parameters,
  { metadata, text }: { metadata: AdapterMetadata; text: TracedText },
): Parameters {
  const { anchor, d, kind, l_sp } = metadata
  const part = ownRows(metadata)
  if (part === undefined)
    throw new QuartetError(
      'invalid_request',
      `an adapter of kind ${kind} with --anchor ${anchor} has no rows that a text could start; use --anchor own`,
      { param: 'init-text' },
    )
  if (text.tokens > l_sp)
    throw new QuartetError(
      'invalid_request',
      `the text to start from has ${text.tokens} tokens and the adapter ${l_sp} rows; give --rows ${text.tokens} or a shorter text`,
      { param: 'init-text' },
    )
  return new Map(
    [...parameters].map(([name, values]) => {
      if (parameterPart(name) !== part) return [name, values]
      const start = layerOf(name) * text.tokens * d
      const rows = values.slice()
      rows.set(unitRows(text.hidden.subarray(start, start + text.tokens * d), d))
      return [name, rows]
    }),
  )
}

/** Rows of width d, each divided by its root mean square. */
export function unitRows(hidden: Float32Array, d: number): Float32Array {
  const rows = hidden.slice()
  for (let start = 0; start < rows.length; start += d) {
    const row = rows.subarray(start, start + d)
    const rms = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / d)
    if (rms > 0) for (const [i, x] of row.entries()) row[i] = x / rms
  }
  return rows
}
