import { type QueuedJob, TrainingOverview } from '../../shared/training/training-overview.ts'
import { call } from '../api/call.ts'
import { useLoad } from '../api/use-load.ts'
import { href } from '../session/route.ts'
import { duration, number, shortDigest } from '../ui/format.ts'
import { Empty, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { Table } from '../ui/table.tsx'

const nameOf = ({ digest, slug }: QueuedJob['backbone']): string => slug ?? shortDigest(digest)

/** The trainers, and the jobs of all tenants that wait for one. */
export function Training() {
  const overview = useLoad(
    'training',
    (session, signal) => call(session, TrainingOverview, { path: '/admin/v1/training', signal }),
    { everyMs: 3_000 },
  )
  return (
    <Page
      title="Trainers"
      lead="Who trains, and which jobs wait. Tenants take turns. Renewed every three seconds."
    >
      <Shown load={overview}>
        {({ queue, speeds, trainers }) => (
          <>
            <Panel title="Trainers at work">
              {trainers.length === 0 ? (
                <Empty title="No trainer has asked for work in ten minutes">
                  <pre>QUARTET_NODE_SECRET=… npx quartet trainer start --edge https://…</pre>
                </Empty>
              ) : (
                <Table
                  label="Trainers"
                  rows={trainers}
                  id={({ id }) => id}
                  columns={[
                    { title: 'Trainer', cell: ({ id }) => <code>{id}</code> },
                    { title: 'Backbone', cell: ({ backbone }) => nameOf(backbone) },
                    {
                      title: 'Trains',
                      cell: ({ id }) => {
                        const job = queue.find(({ trainer }) => trainer === id)
                        return job === undefined ? 'nothing' : `${job.tenant}: ${job.job}`
                      },
                    },
                    {
                      title: 'Tokens/s',
                      numeric: true,
                      cell: ({ backbone }) => {
                        const speed = speeds.find((each) => each.backbone.digest === backbone.digest)
                        return speed === undefined ? '–' : number(speed.tokensPerSecond)
                      },
                    },
                    { title: 'Heard', numeric: true, cell: ({ ageMs }) => `${duration(ageMs)} ago` },
                  ]}
                />
              )}
            </Panel>
            <Panel title="Queue">
              {queue.length === 0 ? (
                <p class="quiet">No job waits and none is trained.</p>
              ) : (
                <Table
                  label="Queue"
                  rows={queue}
                  id={({ job }) => job}
                  columns={[
                    {
                      title: 'Tenant',
                      cell: ({ tenant }) => <a href={href('tenants', tenant)}>{tenant}</a>,
                    },
                    { title: 'Job', cell: ({ job }) => <code>{job}</code> },
                    { title: 'Backbone', cell: ({ backbone }) => nameOf(backbone) },
                    {
                      title: 'Status',
                      cell: ({ trainer }) => (
                        <span class="tag">{trainer === null ? 'waits' : 'is trained'}</span>
                      ),
                    },
                    {
                      title: 'Progress',
                      cell: ({ progress }) =>
                        progress === null ? '–' : `${progress.step} of ${progress.steps} steps`,
                    },
                    { title: 'In the queue', numeric: true, cell: ({ waitedMs }) => duration(waitedMs) },
                  ]}
                />
              )}
            </Panel>
          </>
        )}
      </Shown>
    </Page>
  )
}
