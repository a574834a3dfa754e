import { useState } from 'preact/hooks'
import { BudgetReport, UsageRow } from '../../shared/api/usage.ts'
import { call, send } from '../api/call.ts'
import { readAll } from '../api/pages.ts'
import { useLoad } from '../api/use-load.ts'
import { href } from '../session/route.ts'
import { Alerts } from '../ui/alerts.tsx'
import { LevelBar } from '../ui/chart.tsx'
import { Select } from '../ui/field.tsx'
import { Empty, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { type Period, periods, startOf } from '../ui/period.ts'
import { UsageByDay, UsageByModel } from '../ui/usage.tsx'
import { type Limit, limitsOf } from './limits.ts'

export function Overview() {
  const [period, setPeriod] = useState<Period>('30')
  const from = startOf(period)
  const usage = useLoad(`usage ${from}`, (session, signal) =>
    readAll(session, UsageRow, { path: `/v1/usage?from=${from}`, signal }),
  )
  const limits = useLoad(
    'limits',
    async (session, signal) =>
      limitsOf((await send(session, { path: '/v1/models?limit=1', signal })).headers),
    { everyMs: 10_000 },
  )
  const budget = useLoad(
    'budget',
    (session, signal) => call(session, BudgetReport, { path: '/v1/budget', signal }),
    { everyMs: 10_000 },
  )
  return (
    <Page
      title="Overview"
      actions={<Select label="Period" value={period} onValue={setPeriod} options={periods} />}
    >
      <Panel title="Limits">
        <Shown load={limits}>{(each) => <Limits limits={each} />}</Shown>
      </Panel>
      <Panel title="Budget alerts">
        <Shown load={budget}>{({ alerts }) => <Alerts alerts={alerts} />}</Shown>
      </Panel>
      <Shown load={usage}>
        {(rows) =>
          rows.length === 0 ? (
            <Empty title="Nothing was used in this period">
              <p>
                Try a model in the <a href={href('playground')}>playground</a>, or call the API with this key.
              </p>
            </Empty>
          ) : (
            <>
              <Panel title="Usage by day">
                <UsageByDay rows={rows} from={from} />
              </Panel>
              <Panel title="Usage by model">
                <UsageByModel rows={rows} />
              </Panel>
            </>
          )
        }
      </Shown>
    </Page>
  )
}

function Limits({ limits }: { limits: readonly Limit[] }) {
  if (limits.length === 0) return <p class="quiet">No limits are set for this tenant.</p>
  return (
    <div class="columns">
      {limits.map(({ label, limit, left, note }) => (
        <LevelBar key={label} label={label} used={limit - left} limit={limit} note={note} />
      ))}
    </div>
  )
}
