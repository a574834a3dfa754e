import type { BudgetAlert } from '../../shared/api/alerts.ts'
import { moment, number } from './format.ts'
import { Table } from './table.tsx'

const budgets: Readonly<Record<BudgetAlert['budget'], string>> = {
  tokensPerDay: 'Tokens per day',
  tokensPerMonth: 'Tokens per month',
  trainingTokensPerMonth: 'Tokens trained per month',
}

const told = ({ attempts, delivery, problem }: BudgetAlert): string => {
  if (delivery === 'unsent') return 'no webhook was set'
  if (delivery === 'delivered') return 'delivered'
  return delivery === 'failed'
    ? `given up after ${attempts} attempts: ${problem}`
    : attempts === 0
      ? 'on its way'
      : `is tried again; attempt ${attempts} failed: ${problem}`
}

/** Lists the shares of budgets that were reached (50, 80 and 100 %), and whether the webhook was told. */
export function Alerts({ alerts }: { alerts: readonly BudgetAlert[] }) {
  if (alerts.length === 0)
    return <p class="quiet">No budget has been half spent. At 50, 80 and 100 % it is noted here.</p>
  return (
    <Table
      label="Budgets that were reached"
      rows={alerts}
      id={({ id }) => id}
      columns={[
        { title: 'Budget', cell: ({ budget }) => budgets[budget] },
        { title: 'Period', cell: ({ period }) => period },
        {
          title: 'Reached',
          cell: ({ percent }) => <span class={percent === 100 ? 'tag bad' : 'tag warn'}>{percent} %</span>,
        },
        {
          title: 'Spent',
          numeric: true,
          cell: ({ limit, spent }) => `${number(spent)} of ${number(limit)}`,
        },
        { title: 'When', cell: ({ at }) => moment(at) },
        { title: 'Webhook', cell: told },
      ]}
    />
  )
}
