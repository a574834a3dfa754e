import type { LoadedAdapter } from './backend.ts'
import { hasLoneQuery } from './lone-query.ts'

/** A prompt that is read in runs. */
export interface CutPrompt {
  readonly prompt: readonly number[]
  readonly adapter: Pick<LoadedAdapter, 'window'> | undefined
  /** Rows that its adapter makes; 0 for the untuned backbone. */
  readonly promptRows: number
  /** The number of prompt tokens behind late rows; undefined where rows are not late, or where there are none. */
  readonly tail: number | undefined
  /** The number of prompt tokens in front of a newest turn that has the rows; 0 where they stand elsewhere. */
  readonly turn: number
}

export interface RunRoom {
  /** Cache rows, the adapter's included. */
  readonly rows: number
  readonly tokens: number
}

/** The fewest tokens of a prompt in a run. */
const fewestTokens = 2

/**
 * Whether the run of prompt tokens `start` to `end` makes the prompt rows: the run that has the first of the prompt or of its
 * newest turn, or the prompt's last.
 */
export function makesRows(
  { adapter, prompt, tail, turn }: Omit<CutPrompt, 'promptRows'>,
  { start, end }: { readonly start: number; readonly end: number },
): boolean {
  if (adapter === undefined) return false
  if (tail !== undefined) return end === prompt.length
  return start <= turn && end > turn
}

/**
 * Where the run ends that reads on behind the first `done` tokens: as much of what is left as there is room for, and more
 * where less cannot run, as an adapter's window runs whole, together with its rows. No run has a lone query, unless the
 * prompt has no other cut: so the logits are the same however a prompt is cut, and wherever kept rows end.
 */
export function endOfRun(prompt: CutPrompt, { done, room }: { done: number; room: RunRoom }): number {
  const left = prompt.prompt.length - done
  if (prompt.tail !== undefined) return done + countBeforeRows(prompt, { left, room })
  const inFront = prompt.turn - done
  const count =
    inFront > 0 ? countBeforeTurn(inFront, room) : countBehindRows(prompt, { left, inFront, room })
  return done + count
}

/** The tokens in front of a newest turn that has rows, and none of its own. */
function countBeforeTurn(inFront: number, room: RunRoom): number {
  return (
    nearest(
      { wanted: Math.min(room.rows, room.tokens), least: 0, most: inFront },
      (count) => isWhole({ tokens: count, promptRows: 0 }) && inFront - count !== 1,
    ) ?? inFront
  )
}

/** The adapter's rows, if the prompt or its newest turn begins here, run with the tokens. */
function countBehindRows(
  { adapter, promptRows }: CutPrompt,
  { inFront, left, room }: { left: number; inFront: number; room: RunRoom },
): number {
  const begins = inFront === 0
  const made = begins ? promptRows : 0
  return (
    nearest(
      {
        wanted: Math.min(room.rows - made, room.tokens),
        least: begins ? (adapter?.window ?? 0) : 0,
        most: left,
      },
      (count) => isWhole({ tokens: count, promptRows: made }) && left - count !== 1,
    ) ?? left
  )
}

/** Late rows run with the prompt's last tokens. */
function countBeforeRows(prompt: CutPrompt, { left, room }: { left: number; room: RunRoom }): number {
  const { promptRows } = prompt
  const plain = left - lastTokens(prompt)
  const fits = left + promptRows <= room.rows && left <= room.tokens
  if (plain < fewestTokens || (fits && isWhole({ tokens: left, promptRows }))) return left
  return (
    nearest(
      { wanted: Math.min(room.rows, room.tokens), least: 0, most: plain },
      (count) => isWhole({ tokens: count, promptRows: 0 }) && plain - count !== 1,
    ) ?? left
  )
}

/** How many of a prompt's last tokens run together, so that its next token depends on nothing but the prompt. */
export function lastTokens({
  adapter,
  promptRows,
  tail,
}: Pick<CutPrompt, 'adapter' | 'promptRows' | 'tail'>): number {
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
export function runsOnlyWhole({ adapter, prompt, promptRows, tail, turn }: CutPrompt): boolean {
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
