import type { UsageRow } from '../../shared/api/usage.ts'
import { Bars } from './chart.tsx'
import { duration, number } from './format.ts'
import { daysFrom } from './period.ts'
import { Table } from './table.tsx'

export function UsageByDay({ rows, from }: { rows: readonly UsageRow[]; from: string }) {
  const bars = daysFrom(from).map((day) => {
    const of = rows.filter((row) => row.day === day)
    return {
      label: day.slice(5),
      parts: [sum(of, (row) => row.prompt_tokens), sum(of, (row) => row.completion_tokens)],
    }
  })
  return <Bars title="Tokens by day (UTC)" series={['prompt', 'completion']} bars={bars} />
}

interface Total {
  readonly name: string
  readonly requests: number
  readonly errors: number
  readonly prompt: number
  readonly completion: number
  readonly firstTokenMs: number | undefined
}

export function UsageByModel({ rows }: { rows: readonly UsageRow[] }) {
  return <Totals title="Model" totals={totalsBy(rows, (row) => row.model)} />
}

export function UsageByTenant({ rows }: { rows: readonly UsageRow[] }) {
  return <Totals title="Tenant" totals={totalsBy(rows, (row) => row.tenant)} />
}

function Totals({ title, totals }: { title: string; totals: readonly Total[] }) {
  return (
    <Table
      label={`Usage by ${title.toLowerCase()}`}
      rows={totals}
      id={({ name }) => name}
      columns={[
        { title, cell: ({ name }) => name },
        { title: 'Requests', numeric: true, cell: ({ requests }) => number(requests) },
        { title: 'Errors', numeric: true, cell: ({ errors }) => number(errors) },
        { title: 'Prompt tokens', numeric: true, cell: ({ prompt }) => number(prompt) },
        { title: 'Completion tokens', numeric: true, cell: ({ completion }) => number(completion) },
        {
          title: 'First token, mean',
          numeric: true,
          cell: ({ firstTokenMs }) => (firstTokenMs === undefined ? '–' : duration(firstTokenMs)),
        },
      ]}
    />
  )
}

/** Sums rows that share a name, largest first. */
function totalsBy(rows: readonly UsageRow[], nameOf: (row: UsageRow) => string): readonly Total[] {
  return [...Map.groupBy(rows, nameOf)]
    .map(([name, of]) => {
      const timed = of.filter((row) => row.first_token_ms.mean !== null)
      const count = sum(timed, (row) => row.first_token_ms.count)
      return {
        name,
        requests: sum(of, (row) => row.requests),
        errors: sum(of, (row) => row.errors),
        prompt: sum(of, (row) => row.prompt_tokens),
        completion: sum(of, (row) => row.completion_tokens),
        firstTokenMs:
          count === 0
            ? undefined
            : sum(timed, (row) => (row.first_token_ms.mean ?? 0) * row.first_token_ms.count) / count,
      }
    })
    .toSorted((a, b) => b.prompt + b.completion - (a.prompt + a.completion))
}

const sum = <T,>(of: readonly T[], value: (each: T) => number): number =>
  of.reduce((total, each) => total + value(each), 0)
