import { type AdapterMetadata, carriedFrom } from '../../shared/adapter-file.ts'
import type { LayerRows } from './runner.ts'

export function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i)
}

interface RowCounts {
  /** Prompt rows. */
  readonly rows: number
  readonly tokens: number
}

type Placement = AdapterMetadata['placement']

/** Which token stands at each place of a layer's sequence; token 0 where a prompt row will. */
export const tokenOrder: { readonly [P in Placement]: (counts: RowCounts) => number[] } = {
  first: ({ rows, tokens }) => [...Array<number>(rows).fill(0), ...range(0, tokens)],
  'after-first': ({ rows, tokens }) => [...Array<number>(rows + 1).fill(0), ...range(1, tokens)],
}

/** The places of the prompt rows: in front of the tokens, or directly behind the first one. */
export const rowPlaces: { readonly [P in Placement]: (rows: number) => number[] } = {
  first: (rows) => range(0, rows),
  'after-first': (rows) => range(1, rows + 1),
}

/** Where the tokens stand in that sequence. */
const tokenPositions: { readonly [P in Placement]: (counts: RowCounts) => number[] } = {
  first: ({ rows, tokens }) => range(rows, rows + tokens),
  'after-first': ({ rows, tokens }) => [0, ...range(rows + 1, rows + tokens)],
}

/** What each layer gains in a run, and where the residual stream's tokens end up. */
export interface RunRows {
  readonly layers: readonly LayerRows[]
  /** The place of each token among the rows of the last layer's residual stream. */
  readonly tokenPlaces: readonly number[]
}

/** A run without prompt rows: `each` tokens of so many sequences. */
export function plainRows(layers: number, { sequences, each }: { sequences: number; each: number }): RunRows {
  const tokenPlaces = range(0, sequences * each)
  return { layers: Array<LayerRows>(layers).fill({ gained: each, kept: tokenPlaces }), tokenPlaces }
}

/**
 * The first chunk of a prompt, with prompt rows. Those made anew in every layer are dropped behind each layer's
 * attention. Those carried on from a layer are rows of the residual stream from there on; the layers below have none.
 */
export function tunedRows(metadata: AdapterMetadata, tokens: number): RunRows {
  const { l_sp: rows, layers, placement } = metadata
  const places = tokenPositions[placement]({ rows, tokens })
  const from = carriedFrom(metadata)
  if (from === undefined)
    return {
      layers: Array<LayerRows>(layers).fill({ gained: rows + tokens, kept: places }),
      tokenPlaces: range(0, tokens),
    }
  const below: LayerRows = { gained: tokens, kept: range(0, tokens) }
  const above: LayerRows = { gained: rows + tokens, kept: range(0, rows + tokens) }
  return {
    layers: range(0, layers).map((layer) => (layer < from ? below : above)),
    tokenPlaces: places,
  }
}

/**
 * How many of a tuned sequence's first rows stay in view in a layer with a window: its prompt rows and what stands in
 * front of them, which serves attention as its sink.
 */
export function prefixRows(metadata: AdapterMetadata): (layer: number) => number {
  const from = carriedFrom(metadata) ?? 0
  const rows = Math.max(...rowPlaces[metadata.placement](metadata.l_sp)) + 1
  return (layer) => (layer >= from ? rows : 0)
}
