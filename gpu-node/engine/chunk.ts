import { hasLoneQuery } from '../../model/runtime/lone-query.ts'
import type { Sequence } from './sequence.ts'

/** Tokens of one prompt that one run prefills. */
export interface Chunk {
  readonly sequence: Sequence
  readonly tokens: readonly number[]
  /** Cache rows that the chunk fills: its tokens, and the adapter's prompt rows where it makes them. */
  readonly rows: number
  /** Cache rows in front of it. */
  readonly depth: number
}

export interface ChunkRoom {
  /** Cache rows, the adapter's included. */
  readonly rows: number
  readonly tokens: number
}

/** The fewest tokens of a prompt in a run. */
const fewestTokens = 2

/** All that is left of a prompt, as one chunk; undefined for a sequence that is not prefilling. */
export function remainder(sequence: Sequence): Chunk | undefined {
  if (sequence.phase.name !== 'prefilling') return undefined
  const { done, slot } = sequence.phase
  const tokens = sequence.prompt.slice(done)
  const makesRows = sequence.makesRows({ start: done, end: sequence.prompt.length })
  return {
    sequence,
    tokens,
    rows: tokens.length + (makesRows ? sequence.promptRows : 0),
    depth: slot.length,
  }
}

/**
 * As much of what is left of a prompt as there is room for, and more where less cannot run: an adapter's window runs
 * whole, together with its rows. No chunk has a lone query, unless the prompt has no other cut: so the logits are the
 * same however a prompt is cut, and wherever kept rows end.
 */
export function cutChunk(rest: Chunk, room: ChunkRoom): Chunk {
  const { prompt, tail, turn } = rest.sequence
  if (tail !== undefined) return cutBeforeRows(rest, room)
  const inFront = turn - (prompt.length - rest.tokens.length)
  return inFront > 0 ? cutBeforeTurn(rest, { room, inFront }) : cutBehindRows(rest, { room, inFront })
}

/** The tokens in front of a newest turn that has rows, and none of its own. */
function cutBeforeTurn(
  { tokens, ...rest }: Chunk,
  { inFront, room }: { room: ChunkRoom; inFront: number },
): Chunk {
  const count =
    nearest(
      { wanted: Math.min(room.rows, room.tokens), least: 0, most: inFront },
      (count) => isWhole({ tokens: count, promptRows: 0 }) && inFront - count !== 1,
    ) ?? inFront
  return { ...rest, tokens: tokens.slice(0, count), rows: count }
}

/** The adapter's rows, if the prompt or its newest turn begins here, run with the chunk. */
function cutBehindRows(rest: Chunk, { inFront, room }: { room: ChunkRoom; inFront: number }): Chunk {
  const { sequence, tokens } = rest
  const promptRows = rest.rows - tokens.length
  const count = nearest(
    {
      wanted: Math.min(room.rows - promptRows, room.tokens),
      least: inFront === 0 ? (sequence.adapter?.window ?? 0) : 0,
      most: tokens.length,
    },
    (count) => isWhole({ tokens: count, promptRows }) && tokens.length - count !== 1,
  )
  return count === undefined ? rest : { ...rest, tokens: tokens.slice(0, count), rows: promptRows + count }
}

/** Late rows run with the prompt's last chunk. */
function cutBeforeRows(rest: Chunk, room: ChunkRoom): Chunk {
  const { sequence, tokens } = rest
  const plain = tokens.length - lastTokens(sequence)
  const promptRows = rest.rows - tokens.length
  const fits = rest.rows <= room.rows && tokens.length <= room.tokens
  if (plain < fewestTokens || (fits && isWhole({ tokens: tokens.length, promptRows }))) return rest
  const count = nearest(
    { wanted: Math.min(room.rows, room.tokens), least: 0, most: plain },
    (count) => isWhole({ tokens: count, promptRows: 0 }) && plain - count !== 1,
  )
  return count === undefined ? rest : { ...rest, tokens: tokens.slice(0, count), rows: count }
}

/** How many of a prompt's last tokens run together, so that its next token depends on nothing but the prompt. */
export function lastTokens({
  adapter,
  promptRows,
  tail,
}: Pick<Sequence, 'adapter' | 'promptRows' | 'tail'>): number {
  if (adapter === undefined || tail === undefined) return fewestTokens
  // One more may have to run with them, where it would be alone otherwise.
  const isGood = (tokens: number) =>
    isWhole({ tokens, promptRows }) && isWhole({ tokens: tokens + 1, promptRows })
  let tokens = Math.max(fewestTokens, adapter.window + tail)
  while (!isGood(tokens)) tokens++
  return tokens
}

/**
 * Whether a prompt or a newest turn that runs whole, as its adapter's rows depend on all of it, has a lone query: a run
 * behind kept rows would not give the same logits.
 */
export function runsOnlyWhole({ adapter, prompt, promptRows, tail, turn }: Sequence): boolean {
  const tokens = prompt.length - turn
  if (adapter === undefined || tail !== undefined || tokens > adapter.window) return false
  return !isWhole({ tokens, promptRows })
}

/** Rows that carry on through the layers are queries as tokens are. */
const isWhole = ({ promptRows, tokens }: { tokens: number; promptRows: number }): boolean =>
  !hasLoneQuery(tokens) && !hasLoneQuery(tokens + promptRows)

/** The count from `least` to `most` that fits and is nearest to `wanted`, rather below it than above. */
function nearest(
  { least, most, wanted }: { wanted: number; least: number; most: number },
  fits: (count: number) => boolean,
): number | undefined {
  const first = Math.max(least, fewestTokens)
  for (let count = Math.min(wanted, most); count >= first; count--) if (fits(count)) return count
  for (let count = Math.max(wanted + 1, first); count <= most; count++) if (fits(count)) return count
  return undefined
}
