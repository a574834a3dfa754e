import { useState } from 'preact/hooks'
import { UsageRow } from '../../shared/api/usage.ts'
import { readAll } from '../api/pages.ts'
import { useLoad } from '../api/use-load.ts'
import { Select, TextField } from '../ui/field.tsx'
import { Empty, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { type Period, periods, startOf } from '../ui/period.ts'
import { UsageByDay, UsageByModel, UsageByTenant } from '../ui/usage.tsx'

export function AllUsage() {
  const [period, setPeriod] = useState<Period>('7')
  const [tenant, setTenant] = useState('')
  const from = startOf(period)
  const query = new URLSearchParams({ from, limit: '1000', ...(tenant === '' ? {} : { tenant }) })
  const usage = useLoad(`usage ${query}`, (session, signal) =>
    readAll(session, UsageRow, { path: `/admin/v1/usage?${query}`, signal }),
  )
  return (
    <Page
      title="Usage"
      actions={
        <>
          <TextField label="Tenant" value={tenant} onValue={setTenant} hint="Empty: all." />
          <Select label="Period" value={period} onValue={setPeriod} options={periods} />
        </>
      }
    >
      <Shown load={usage}>
        {(rows) =>
          rows.length === 0 ? (
            <Empty title="Nothing was used in this period" />
          ) : (
            <>
              <Panel title="Tokens">
                <UsageByDay rows={rows} from={from} />
              </Panel>
              <Panel title="By tenant">
                <UsageByTenant rows={rows} />
              </Panel>
              <Panel title="By model">
                <UsageByModel rows={rows} />
              </Panel>
            </>
          )
        }
      </Shown>
    </Page>
  )
}
