import { type FleetNodeSummary, FleetResponse, type NodeState } from '../../shared/api/fleet.ts'
import { call } from '../api/call.ts'
import { useLoad } from '../api/use-load.ts'
import { duration, number } from '../ui/format.ts'
import { Empty, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { Table } from '../ui/table.tsx'

const tone: Readonly<Record<NodeState, string>> = {
  ready: 'tag',
  draining: 'tag warn',
  left: 'tag warn',
  lost: 'tag bad',
  unregistered: 'tag warn',
}

export function Fleet() {
  const fleet = useLoad(
    'fleet',
    (session, signal) => call(session, FleetResponse, { path: '/admin/v1/fleet', signal }),
    {
      everyMs: 2_000,
    },
  )
  return (
    <Page title="Fleet" lead="The nodes as they last told of themselves. Renewed every two seconds.">
      <Shown load={fleet}>
        {({ nodes }) =>
          nodes.length === 0 ? (
            <Empty title="No node has joined">
              <pre>npx quartet node start --edge https://… --advertise http://…</pre>
            </Empty>
          ) : (
            <>
              <Totals nodes={nodes} />
              <Panel title="Nodes">
                <Nodes nodes={nodes} />
              </Panel>
            </>
          )
        }
      </Shown>
    </Page>
  )
}

function Totals({ nodes }: { nodes: readonly FleetNodeSummary[] }) {
  const ready = nodes.filter(({ state }) => state === 'ready')
  const sum = (value: (node: FleetNodeSummary) => number) =>
    ready.reduce((total, node) => total + value(node), 0)
  const facts = [
    ['Ready', `${ready.length} of ${nodes.length}`],
    ['Running', number(sum(({ report }) => report?.running ?? 0))],
    ['Waiting', number(sum(({ report }) => report?.waiting ?? 0))],
    ['Places', number(sum(({ report }) => report?.maxBatch ?? 0))],
    ['Tokens/s', number(sum(({ report }) => report?.rates.tokensPerSecond ?? 0))],
    ['Requests/s', sum(({ report }) => report?.rates.requestsPerSecond ?? 0).toFixed(1)],
  ] as const
  return (
    <Panel title="Now">
      <div class="figures">
        {facts.map(([term, value]) => (
          <div key={term}>
            <span class="quiet">{term}</span>
            <strong>{value}</strong>
          </div>
        ))}
      </div>
    </Panel>
  )
}

function Nodes({ nodes }: { nodes: readonly FleetNodeSummary[] }) {
  return (
    <Table
      label="Nodes"
      rows={nodes}
      id={({ id }) => id}
      columns={[
        { title: 'Node', cell: ({ id }) => <code>{id}</code> },
        { title: 'State', cell: ({ state }) => <span class={tone[state]}>{state}</span> },
        { title: 'Region', cell: ({ report }) => report?.region ?? '–' },
        {
          title: 'Load',
          numeric: true,
          cell: ({ report }) =>
            report === null ? '–' : `${report.running} of ${report.maxBatch}, ${report.waiting} waiting`,
        },
        {
          title: 'Tokens/s',
          numeric: true,
          cell: ({ report }) => (report === null ? '–' : number(report.rates.tokensPerSecond)),
        },
        {
          title: 'First token, p50 and p95',
          numeric: true,
          cell: ({ report }) =>
            report === null || report.rates.firstTokenMsP50 === null || report.rates.firstTokenMsP95 === null
              ? '–'
              : `${duration(report.rates.firstTokenMsP50)}, ${duration(report.rates.firstTokenMsP95)}`,
        },
        {
          title: 'Free KV rows',
          numeric: true,
          cell: ({ report }) => (report === null ? '–' : number(report.cacheRows.free)),
        },
        {
          title: 'Adapters',
          numeric: true,
          cell: ({ report }) => (report === null ? '–' : number(report.residentAdapters)),
        },
        {
          title: 'Heard',
          numeric: true,
          cell: ({ report }) => (report === null ? '–' : `${duration(report.ageMs)} ago`),
        },
      ]}
    />
  )
}
