import { useState } from 'preact/hooks'
import { TenantSummary } from '../../shared/api/admin.ts'
import { BudgetReport } from '../../shared/api/usage.ts'
import { call, send } from '../api/call.ts'
import { useAction } from '../api/use-action.ts'
import { useLoad } from '../api/use-load.ts'
import { href } from '../session/route.ts'
import { Alerts } from '../ui/alerts.tsx'
import { LevelBar } from '../ui/chart.tsx'
import { ConfirmByName } from '../ui/dialog.tsx'
import { bytes, moment, number, shortDigest } from '../ui/format.ts'
import { Failure, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { Table } from '../ui/table.tsx'
import { Keys } from './keys.tsx'
import { PolicyForm } from './policy-form.tsx'

export function TenantPage({ name }: { name: string }) {
  const path = `/admin/v1/tenants/${encodeURIComponent(name)}`
  const tenant = useLoad(`tenant ${name}`, (session, signal) =>
    call(session, TenantSummary, { path, signal }),
  )
  const budget = useLoad(
    `budget ${name}`,
    (session, signal) => call(session, BudgetReport, { path: `${path}/budget`, signal }),
    { everyMs: 5_000 },
  )
  return (
    <Page
      title={name}
      lead={
        <>
          A tenant. <a href={href('tenants')}>All tenants</a>
        </>
      }
    >
      <Shown load={tenant}>
        {(summary) => (
          <>
            <div class="columns">
              <TenantCard path={path} tenant={summary} onChanged={tenant.reload} />
              <Panel title="Budget">
                <Shown load={budget}>{(report) => <Budget report={report} />}</Shown>
              </Panel>
            </div>
            <Panel title="Policy">
              <PolicyForm
                key={JSON.stringify(summary.policy)}
                path={path}
                policy={summary.policy}
                onChanged={() => {
                  tenant.reload()
                  budget.reload()
                }}
              />
            </Panel>
            <Panel title="Budget alerts">
              <Shown load={budget}>{({ alerts }) => <Alerts alerts={alerts} />}</Shown>
            </Panel>
            <Panel title="Keys">
              <Keys path={path} keys={summary.keys} onChanged={tenant.reload} />
            </Panel>
            <Deployed tenant={summary} />
          </>
        )}
      </Shown>
    </Page>
  )
}

function TenantCard({
  path,
  tenant,
  onChanged,
}: {
  path: string
  tenant: TenantSummary
  onChanged: () => void
}) {
  const [asking, setAsking] = useState<'suspend' | 'delete'>()
  const setStatus = useAction(async (session, status: TenantSummary['status']) => {
    await send(session, { method: 'PATCH', path, json: { status } })
    setAsking(undefined)
    onChanged()
  })
  const remove = useAction(async (session) => {
    await send(session, { method: 'DELETE', path })
    location.hash = href('tenants')
  })
  const { id, status } = tenant
  return (
    <Panel title="Status">
      <dl>
        <dt>Status</dt>
        <dd>
          <span class={status === 'active' ? 'tag' : 'tag bad'}>{status}</span>
        </dd>
        <dt>Created</dt>
        <dd>{moment(tenant.createdAt)}</dd>
      </dl>
      {asking === undefined && setStatus.failure !== undefined ? (
        <Failure failure={setStatus.failure} />
      ) : null}
      <div class="actions">
        {status === 'active' ? (
          <button type="button" onClick={() => setAsking('suspend')}>
            Suspend…
          </button>
        ) : (
          <button
            type="button"
            class="primary"
            disabled={setStatus.running}
            onClick={() => setStatus.run('active')}
          >
            Resume
          </button>
        )}
        <button type="button" onClick={() => setAsking('delete')}>
          Delete…
        </button>
      </div>
      {asking === 'suspend' ? (
        <ConfirmByName
          title="Suspend the tenant"
          name={id}
          verb="Suspend"
          running={setStatus.running}
          failure={setStatus.failure}
          onConfirm={() => setStatus.run('suspended')}
          onClose={() => setAsking(undefined)}
        >
          <p>Its keys are refused within five seconds. What runs then runs to its end. Resume undoes it.</p>
        </ConfirmByName>
      ) : null}
      {asking === 'delete' ? (
        <ConfirmByName
          title="Delete the tenant"
          name={id}
          verb="Delete"
          running={remove.running}
          failure={remove.failure}
          onConfirm={remove.run}
          onClose={() => setAsking(undefined)}
        >
          <p>
            Its keys, adapters and aliases are removed. This cannot be undone. Its usage stays in the
            operator’s list.
          </p>
        </ConfirmByName>
      ) : null}
    </Panel>
  )
}

const limitLabels: Readonly<Record<string, string>> = {
  requestsPerMinute: 'Requests per minute',
  tokensPerMinute: 'Tokens per minute',
  concurrentRequests: 'Requests at the same time',
  tokensPerDay: 'Tokens per day',
  tokensPerMonth: 'Tokens per month',
}

function Budget({ report }: { report: BudgetReport }) {
  return (
    <>
      <dl>
        <dt>Spent today</dt>
        <dd>{number(report.spent.day)} tokens</dd>
        <dt>Spent this month</dt>
        <dd>{number(report.spent.month)} tokens</dd>
        <dt>Held</dt>
        <dd>{`${number(report.held.tokens)} tokens, ${report.held.slots} requests`}</dd>
      </dl>
      {Object.entries(report.limits).map(([name, { left, limit }]) => (
        <LevelBar key={name} label={limitLabels[name] ?? name} used={limit - left} limit={limit} />
      ))}
    </>
  )
}

function Deployed({ tenant }: { tenant: TenantSummary }) {
  return (
    <div class="columns">
      <Panel title="Aliases">
        {tenant.aliases.length === 0 ? (
          <p class="quiet">None.</p>
        ) : (
          <Table
            label="Aliases"
            rows={tenant.aliases}
            id={({ alias }) => alias}
            columns={[
              { title: 'Alias', cell: ({ alias }) => alias },
              { title: 'Adapter', cell: ({ digest }) => <code>{shortDigest(digest)}</code> },
              { title: 'Canary', cell: ({ canary }) => (canary === null ? '–' : `${canary.percent} %`) },
              { title: 'Version', numeric: true, cell: ({ version }) => version },
            ]}
          />
        )}
      </Panel>
      <Panel title="Adapters">
        {tenant.adapters.length === 0 ? (
          <p class="quiet">None.</p>
        ) : (
          <Table
            label="Adapters"
            rows={tenant.adapters}
            id={({ digest }) => digest}
            columns={[
              { title: 'Digest', cell: ({ digest }) => <code>{shortDigest(digest)}</code> },
              { title: 'Kind', cell: ({ kind }) => kind },
              { title: 'Backbone', cell: ({ backbone }) => backbone },
              { title: 'Size', numeric: true, cell: (adapter) => bytes(adapter.bytes) },
            ]}
          />
        )}
      </Panel>
    </div>
  )
}
