import { Command, Option } from 'commander'
import { type BudgetReport, UsageQuery, type UsageRow } from '../shared/api/usage.ts'
import { TenantId } from '../shared/ids.ts'
import { usageCsv } from '../shared/usage-csv.ts'
import { addEdgeOption, adminOf } from './access/admin-access.ts'
import { parsedBy } from './command/argument.ts'
import { note, printJson, printTable } from './command/output.ts'

interface Options {
  readonly tenant?: TenantId
  readonly from?: string
  readonly to?: string
  readonly json?: true
  readonly csv?: true
}

const Day = UsageQuery.shape.from.unwrap()

/** `quartet usage` shows the tenants' usage, by the nodes' own counts. */
export function usageCommand(): Command {
  return addEdgeOption(new Command('usage'))
    .description('what tenants used, by UTC day, key and model; with one tenant also how its limits stand')
    .option('--tenant <id>', 'only this one', parsedBy(TenantId))
    .option('--from <day>', 'first UTC day, as 2026-11-24 (default: the first of the month)', parsedBy(Day))
    .option('--to <day>', 'last UTC day (default: today)', parsedBy(Day))
    .option('--json', 'as JSON')
    .addOption(new Option('--csv', 'as CSV').conflicts('json'))
    .action(async ({ csv, from, json, tenant, to }: Options, command: Command) => {
      const admin = await adminOf(command)
      const rows = await admin.usage({ tenant, from, to })
      if (json) return printJson(rows)
      if (csv) return void process.stdout.write(usageCsv(rows))
      printRows(rows)
      if (tenant !== undefined) noteBudget(await admin.budget(tenant))
    })
}

function printRows(rows: readonly UsageRow[]): void {
  const milliseconds = (ms: number | null) => (ms === null ? '-' : ms.toFixed(0))
  const cells = (row: Omit<UsageRow, 'first_token_ms'>) =>
    [row.requests, row.errors, row.prompt_tokens, row.completion_tokens, row.total_tokens].map(String)
  const header = ['day', 'tenant', 'key', 'model', 'requests', 'errors', 'prompt', 'completion', 'tokens']
  printTable(
    [...header, 'first token p50', 'p95 ms'],
    rows.map((row) => {
      const { p50, p95 } = row.first_token_ms
      return [row.day, row.tenant, row.key, row.model, ...cells(row), milliseconds(p50), milliseconds(p95)]
    }),
    'usage',
  )
  const sum = (read: (row: UsageRow) => number) => rows.reduce((total, row) => total + read(row), 0)
  if (rows.length > 1)
    note(
      `in all ${sum((row) => row.requests)} requests, ${sum((row) => row.errors)} errors, ${sum((row) => row.prompt_tokens)} prompt and ${sum((row) => row.completion_tokens)} completion tokens`,
    )
}

function noteBudget({ held, limits, spent }: BudgetReport): void {
  note(`spent: ${spent.day} tokens today, ${spent.month} this month (UTC); held by requests: ${held.tokens}`)
  for (const [name, { left, limit }] of Object.entries(limits)) note(`${name}: ${left} of ${limit} left`)
}
