import type { FleetResponse } from '../../shared/api/fleet.ts'
import { type Cell, type Column, columns, type Tone, totalsOf } from './columns.ts'

export interface FrameInput {
  readonly fleet: FleetResponse
  readonly edge: string
  /** The fault of the latest look, when the fleet shown is an older one. */
  readonly problem?: string | undefined
  /** Characters per line; Infinity where nothing is cut. */
  readonly width: number
  /** Lines; Infinity where nothing is cut. */
  readonly height: number
  readonly color: boolean
}

const gap = '  '
const bold = '\x1b[1m'
const reset = '\x1b[0m'
const tones: Readonly<Record<Tone, string>> = {
  good: '\x1b[32m',
  warn: '\x1b[33m',
  bad: '\x1b[31m',
  dim: '\x1b[2m',
}

/** The fleet as lines of text, none longer than `width` nor more than `height`. */
export function renderFrame({ color, edge, fleet, height, problem, width }: FrameInput): readonly string[] {
  const totals = totalsOf(fleet)
  const cellsOf = (column: Column) => [
    ...fleet.nodes.map((node) => clean(column.node(node))),
    clean(column.total(totals)),
  ]
  const fitted = fitColumns(
    columns.map((column) => {
      const cells = cellsOf(column)
      return { column, cells, width: Math.max(column.title.length, ...cells.map(({ text }) => text.length)) }
    }),
    width,
  )
  const line = (cells: readonly Cell[], style = '') =>
    paintLine(
      cells.map((cell, at) => ({ cell, ...fitted[at] })),
      { color, style, width },
    )
  const rows = fleet.nodes.map((_, at) => line(fitted.map(({ cells }) => cells[at] ?? { text: '' })))
  const total = line(
    fitted.map(({ cells }) => cells.at(-1) ?? { text: '' }),
    bold,
  )
  const head = [
    cut(`quartet top  ${edge}${problem === undefined ? '' : `  ${printable(problem)}`}`, width),
    line(
      fitted.map(({ column }) => ({ text: column.title, tone: 'dim' })),
      '',
    ),
  ]
  const tail = fleet.nodes.length === 0 ? ['no node has registered yet'] : [total]
  const room = Math.max(0, height - head.length - tail.length)
  const shown =
    rows.length <= room
      ? rows
      : [...rows.slice(0, Math.max(0, room - 1)), cut(`… ${rows.length - Math.max(0, room - 1)} more`, width)]
  return [...head, ...shown.slice(0, room), ...tail].slice(0, height)
}

interface Fitted {
  readonly column: Column
  readonly cells: readonly Cell[]
  readonly width: number
}

/** Leaves out the lightest columns until the rest fit. */
function fitColumns(all: readonly Fitted[], width: number): readonly Fitted[] {
  let kept = all
  const needed = () => kept.reduce((sum, { width: own }) => sum + own, gap.length * (kept.length - 1))
  while (kept.length > 1 && needed() > width) {
    const lightest = Math.min(...kept.map(({ column }) => column.weight))
    kept = kept.filter(({ column }) => column.weight !== lightest)
  }
  return kept
}

function paintLine(
  cells: readonly { cell: Cell; column?: Column; width?: number }[],
  { color, style, width }: { color: boolean; style: string; width: number },
): string {
  let room = width
  const parts = cells.map(({ cell, column, width: own = 0 }, at) => {
    const padded = column?.align === 'right' ? cell.text.padStart(own) : cell.text.padEnd(own)
    const text = cut(at === 0 ? padded : gap + padded, room)
    room -= text.length
    if (!color) return text
    const codes = style + (cell.tone === undefined ? '' : tones[cell.tone])
    return codes === '' ? text : `${codes}${text}${reset}`
  })
  return color ? parts.join('') : parts.join('').trimEnd()
}

const cut = (text: string, width: number): string =>
  text.length <= width ? text : text.slice(0, Math.max(0, width))

/** Text of nodes and edges must not steer the terminal. */
const printable = (text: string): string => text.replaceAll(/\p{Cc}/gu, ' ')
const clean = (cell: Cell): Cell => ({ ...cell, text: printable(cell.text) })
