import { AliasSummary } from '../../shared/api/deployments.ts'
import { Model } from '../../shared/api/models.ts'
import { readAll } from '../api/pages.ts'
import { useLoad } from '../api/use-load.ts'
import { href } from '../session/route.ts'
import { moment, shortDigest } from '../ui/format.ts'
import { Empty, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { Table } from '../ui/table.tsx'
import { DeployForm } from './deploy-form.tsx'

export function Models() {
  const aliases = useLoad('aliases', (session, signal) =>
    readAll(session, AliasSummary, { path: '/v1/aliases', signal }),
  )
  const models = useLoad('models', (session, signal) =>
    readAll(session, Model, { path: '/v1/models', signal }),
  )
  return (
    <Page
      title="Models"
      lead="An alias is your name for an adapter. Requests that ask for it get the adapter that it names."
    >
      <Panel title="Aliases">
        <Shown load={aliases}>
          {(each) =>
            each.length === 0 ? (
              <Empty title="No alias yet">
                <p>Train and publish an adapter, then deploy it here under a name.</p>
                <pre>npx quartet adapter publish mine.safetensors --alias mine</pre>
              </Empty>
            ) : (
              <Table
                label="Aliases"
                rows={each}
                id={({ alias }) => alias}
                columns={[
                  { title: 'Alias', cell: ({ alias }) => <a href={href('models', alias)}>{alias}</a> },
                  {
                    title: 'Adapter',
                    cell: ({ digest }) => (
                      <a href={href('adapters', digest)}>
                        <code>{shortDigest(digest)}</code>
                      </a>
                    ),
                  },
                  {
                    title: 'Canary',
                    cell: ({ canary }) =>
                      canary === null ? (
                        '–'
                      ) : (
                        <span class="tag warn">{`${canary.percent} % to ${shortDigest(canary.digest)}`}</span>
                      ),
                  },
                  { title: 'Version', numeric: true, cell: ({ version }) => version },
                  { title: 'Changed', cell: ({ updatedAt }) => moment(updatedAt) },
                ]}
              />
            )
          }
        </Shown>
      </Panel>
      <Panel title="Deploy an adapter">
        <DeployForm onDeployed={aliases.reload} />
      </Panel>
      <Panel title="Models that this key may ask for">
        <Shown load={models}>
          {(each) => (
            <Table
              label="Models"
              rows={each}
              id={({ id }) => id}
              columns={[
                { title: 'Model', cell: ({ id }) => <code>{id}</code> },
                {
                  title: 'What it is',
                  cell: ({ adapter }) => (adapter === undefined ? 'backbone, untuned' : 'alias'),
                },
                { title: 'Backbone', cell: ({ backbone }) => backbone },
              ]}
            />
          )}
        </Shown>
      </Panel>
    </Page>
  )
}
