import type { FleetNodeSummary, FleetResponse, NodeReport, NodeState } from '../../shared/api/fleet.ts'

/** A cell's text and, where it means something, its colour. */
export interface Cell {
  readonly text: string
  readonly tone?: Tone
}
export type Tone = 'good' | 'warn' | 'bad' | 'dim'

export interface Column {
  readonly title: string
  readonly align: 'left' | 'right'
  /** The higher, the longer it stays when the terminal is narrow. */
  readonly weight: number
  readonly node: (node: FleetNodeSummary) => Cell
  /** The sum over all nodes that take or finish work. */
  readonly total: (fleet: Totals) => Cell
}

/** Nodes that the registry hears, summed. */
export interface Totals {
  /** The nodes without those that left. */
  readonly nodes: number
  readonly ready: number
  readonly reports: readonly NodeReport[]
}

const live: ReadonlySet<NodeState> = new Set(['ready', 'draining'])
const tones: Readonly<Record<NodeState, Tone>> = {
  ready: 'good',
  draining: 'warn',
  left: 'dim',
  lost: 'bad',
  unregistered: 'dim',
}

export function totalsOf({ nodes }: FleetResponse): Totals {
  return {
    nodes: nodes.filter(({ state }) => state !== 'left').length,
    ready: nodes.filter(({ state }) => state === 'ready').length,
    reports: nodes.flatMap(({ report, state }) => (report !== null && live.has(state) ? [report] : [])),
  }
}

const unknown: Cell = { text: '–', tone: 'dim' }
const sum = (reports: readonly NodeReport[], of: (report: NodeReport) => number) =>
  reports.reduce((total, report) => total + of(report), 0)

/** A column that a node fills from its last report. */
function reported(
  column: Pick<Column, 'title' | 'weight' | 'total'> & { node: (report: NodeReport) => Cell },
): Column {
  const { node, ...rest } = column
  return { ...rest, align: 'right', node: ({ report }) => (report === null ? unknown : node(report)) }
}

/** A column whose total is the sum. */
const summed = (
  column: Pick<Column, 'title' | 'weight'> & {
    of: (report: NodeReport) => number
    show: (value: number) => string
  },
): Column =>
  reported({
    title: column.title,
    weight: column.weight,
    node: (report) => ({ text: column.show(column.of(report)) }),
    total: ({ reports }) => ({ text: column.show(sum(reports, column.of)) }),
  })

/** Times to the first token. A quantile of all requests together is at most the largest of any node. */
const firstToken = (title: string, weight: number, of: (report: NodeReport) => number | null): Column =>
  reported({
    title,
    weight,
    node: (report) => milliseconds(of(report)),
    total: ({ reports }) => {
      const known = reports.map(of).filter((ms) => ms !== null)
      return known.length === 0 ? unknown : { text: `≤ ${milliseconds(Math.max(...known)).text}` }
    },
  })

export const columns: readonly Column[] = [
  {
    title: 'node',
    align: 'left',
    weight: 100,
    node: ({ id }) => ({ text: id }),
    total: ({ nodes, ready }) => ({ text: `${ready} of ${nodes} ready` }),
  },
  {
    title: 'state',
    align: 'left',
    weight: 90,
    node: ({ state }) => ({ text: state, tone: tones[state] }),
    total: () => ({ text: '' }),
  },
  {
    title: 'region',
    align: 'left',
    weight: 10,
    node: ({ report }) => ({ text: report?.region || '–' }),
    total: () => ({ text: '' }),
  },
  reported({
    title: 'load',
    weight: 80,
    node: ({ maxBatch, running }) => loadCell(running, maxBatch),
    total: ({ reports }) =>
      loadCell(
        sum(reports, ({ running }) => running),
        sum(reports, ({ maxBatch }) => maxBatch),
      ),
  }),
  reported({
    title: 'queue',
    weight: 70,
    node: ({ waiting }) => queueCell(waiting),
    total: ({ reports }) => queueCell(sum(reports, ({ waiting }) => waiting)),
  }),
  reported({
    title: 'kv free',
    weight: 50,
    node: ({ cacheRows }) => shareCell(cacheRows.free, cacheRows.all),
    total: ({ reports }) =>
      shareCell(
        sum(reports, ({ cacheRows }) => cacheRows.free),
        sum(reports, ({ cacheRows }) => cacheRows.all),
      ),
  }),
  summed({ title: 'adapters', weight: 60, of: ({ residentAdapters }) => residentAdapters, show: String }),
  summed({ title: 'tok/s', weight: 75, of: ({ rates }) => rates.tokensPerSecond, show: rate }),
  summed({ title: 'req/s', weight: 40, of: ({ rates }) => rates.requestsPerSecond, show: rate }),
  firstToken('first p50', 55, ({ rates }) => rates.firstTokenMsP50),
  firstToken('first p95', 65, ({ rates }) => rates.firstTokenMsP95),
  {
    title: 'heard',
    align: 'right',
    weight: 20,
    node: ({ report }) => (report === null ? unknown : { text: age(report.ageMs) }),
    total: () => ({ text: '' }),
  },
]

function loadCell(running: number, maxBatch: number): Cell {
  return { text: `${running}/${maxBatch}`, ...(running >= maxBatch && maxBatch > 0 ? { tone: 'warn' } : {}) }
}

function queueCell(waiting: number): Cell {
  return { text: String(waiting), ...(waiting > 0 ? { tone: 'warn' } : {}) }
}

function shareCell(free: number, all: number): Cell {
  if (all === 0) return unknown
  const percent = Math.floor((100 * free) / all)
  return { text: `${percent} %`, ...(percent < 10 ? { tone: 'warn' } : {}) }
}

function milliseconds(ms: number | null): Cell {
  if (ms === null) return unknown
  return { text: ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s` }
}

function rate(perSecond: number): string {
  return perSecond < 100 ? perSecond.toFixed(1) : String(Math.round(perSecond))
}

function age(ms: number): string {
  const seconds = ms / 1000
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`
}
