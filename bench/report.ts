/** One line of a benchmark's table: the figure, and the bound it is held to. */
export interface Figure {
  readonly name: string
  readonly value: number
  readonly unit: string
  /** `at most` or `at least` this; absent for figures that only inform. */
  readonly bound?: { readonly kind: 'at most' | 'at least'; readonly value: number }
  /** A circumstance of the measurement that the name does not tell. */
  readonly note?: string
}

/** A part of a benchmark that threw before it had its figures. */
export interface FailedPart {
  readonly name: string
  readonly failure: {
    readonly code: string
    /** The error's message, and behind it those of what caused it. */
    readonly message: string
    /** The step during which it threw. */
    readonly doing: string
  }
}

/** A part of a benchmark that was not begun, and why. */
interface LeftOutPart {
  readonly name: string
  readonly leftOut: string
}

export type Row = Figure | FailedPart | LeftOutPart

/** A value that is not finite was not measured: it does not hold, with a bound or without. */
function holds({ value, bound }: Figure): boolean {
  if (!Number.isFinite(value)) return false
  if (bound === undefined) return true
  return bound.kind === 'at most' ? value <= bound.value : value >= bound.value
}

/** Whether a row tells of nothing that went wrong. */
export function isGood(row: Row): boolean {
  return 'failure' in row ? false : 'leftOut' in row || holds(row)
}

function columns(row: Row): Readonly<Record<'value' | 'unit' | 'bound' | 'holds' | 'note', string | number>> {
  if ('failure' in row) {
    const { code, doing, message } = row.failure
    return { value: '', unit: '', bound: '', holds: 'FAILED', note: `${code} while ${doing}: ${message}` }
  }
  if ('leftOut' in row) return { value: '', unit: '', bound: '', holds: 'left out', note: row.leftOut }
  const { bound, note = '', unit, value } = row
  return {
    value: Number(value.toPrecision(4)),
    unit,
    bound: bound ? `${bound.kind} ${bound.value}` : '',
    holds: holds(row) ? (bound ? 'yes' : '') : 'NO',
    note,
  }
}

/** A row as one line of text. */
export function lineOf(row: Row): string {
  const { bound, holds: isHeld, note, unit, value } = columns(row)
  return `${row.name}: ${[value, unit, bound && `(${bound})`, isHeld, note].filter((part) => part !== '').join(' ')}`
}

/** Prints the table, and the notes below it, and says whether every bound holds and no part failed. */
export function report(title: string, rows: readonly Row[]): boolean {
  console.log(`\n${title}`)
  console.table(
    rows.map((row) => {
      const { note: _, ...others } = columns(row)
      return { figure: row.name, ...others }
    }),
  )
  for (const row of rows) {
    const { note } = columns(row)
    if (note !== '') console.log(`${row.name}: ${note}`)
  }
  return rows.every(isGood)
}
