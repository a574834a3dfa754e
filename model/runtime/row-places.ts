import { type AdapterMetadata, carriedFrom } from '../../shared/adapter-file.ts'
import type { LayerRows } from './sequence-run.ts'

export function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i)
}

type Placement = AdapterMetadata['placement']

/** A chunk of a prompt and the prompt rows among its tokens. */
export interface RowPlaces {
  /** Prompt rows. */
  readonly rows: number
  readonly tokens: number
  /** Tokens in front of the prompt rows. */
  readonly front: number
}

/**
 * How many of a chunk's tokens stand in front of the prompt rows; `tail` of them stand behind late rows. `begins`: whether
 * the prompt begins with the chunk. A newest turn that is the whole prompt has its rows behind the attention sink.
 */
export const tokensInFront: {
  readonly [P in Placement]: (chunk: { tokens: number; tail: number; begins: boolean }) => number
} = {
  first: () => 0,
  'after-first': () => 1,
  turn: ({ begins }) => (begins ? 1 : 0),
  late: ({ tokens, tail }) => tokens - tail,
}

/** The tokens of a chunk that the generator reads, from `start` to `end`. */
export const instructionOf: {
  readonly [P in Placement]: (chunk: { tokens: number; front: number; window: number }) => {
    start: number
    end: number
  }
} = {
  first: ({ tokens, window }) => ({ start: 0, end: Math.min(window, tokens) }),
  'after-first': ({ tokens, window }) => ({ start: 0, end: Math.min(window, tokens) }),
  turn: ({ tokens, window }) => ({ start: 0, end: Math.min(window, tokens) }),
  late: ({ front, window }) => ({ start: Math.max(0, front - window), end: front }),
}

/** The token at each place of a layer's sequence; token 0 where a prompt row will stand. */
export function tokenOrder({ rows, tokens, front }: RowPlaces): number[] {
  return [...range(0, front), ...Array<number>(rows).fill(0), ...range(front, tokens)]
}

/** The places of the prompt rows in that sequence. */
export function rowPlaces({ rows, front }: RowPlaces): number[] {
  return range(front, front + rows)
}

/** The places of the tokens in that sequence. */
function tokenPlacesOf({ rows, tokens, front }: RowPlaces): number[] {
  return [...range(0, front), ...range(front + rows, rows + tokens)]
}

/** The rows that a sequence gains in each layer in a run, and the places of the residual stream's tokens. */
export interface RunRows {
  readonly layers: readonly LayerRows[]
  /** The place of each token among the rows of the last layer's residual stream. */
  readonly tokenPlaces: readonly number[]
}

/** Tokens without prompt rows. */
export function plainRows(layers: number, tokens: number): RunRows {
  const tokenPlaces = range(0, tokens)
  return { layers: Array<LayerRows>(layers).fill({ gained: tokens, kept: tokenPlaces }), tokenPlaces }
}

/**
 * The chunk of a prompt that has the prompt rows. Those made anew in every layer are dropped behind each layer's
 * attention. Those carried on from a layer are rows of the residual stream from there on; the layers below have none.
 */
export function tunedRows(metadata: AdapterMetadata, chunk: RowPlaces): RunRows {
  const { layers } = metadata
  const { rows, tokens } = chunk
  const places = tokenPlacesOf(chunk)
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
 * front of them, which serves attention as its sink. None with rows of a turn and late ones, in front of which the cache
 * is the backbone's.
 */
export function prefixRows(metadata: AdapterMetadata): (layer: number) => number {
  const { placement } = metadata
  if (placement === 'late' || placement === 'turn') return () => 0
  const from = carriedFrom(metadata) ?? 0
  const rows = tokensInFront[placement]({ tokens: 1, tail: 0, begins: true }) + metadata.l_sp
  return (layer) => (layer >= from ? rows : 0)
}
