import { Job, type JobEvaluation, JobEvent } from '../../shared/api/fine-tuning.ts'
import { call, send } from '../api/call.ts'
import { readAll } from '../api/pages.ts'
import { useAction } from '../api/use-action.ts'
import { useLoad } from '../api/use-load.ts'
import { href } from '../session/route.ts'
import { Lines } from '../ui/chart.tsx'
import { estimateText } from '../ui/estimate.ts'
import { moment, number, shortDigest } from '../ui/format.ts'
import { Failure, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { Table } from '../ui/table.tsx'
import { tone } from './jobs.tsx'

export function JobPage({ name }: { name: string }) {
  const path = `/v1/fine_tuning/jobs/${encodeURIComponent(name)}`
  const job = useLoad(`job ${name}`, (session, signal) => call(session, Job, { path, signal }), {
    everyMs: 3_000,
  })
  const events = useLoad(
    `events ${name}`,
    (session, signal) => readAll(session, JobEvent, { path: `${path}/events?limit=100`, signal }),
    { everyMs: 5_000 },
  )
  return (
    <Page title={name} lead={<a href={href('jobs')}>All jobs</a>}>
      <Shown load={job}>{(value) => <JobCard path={path} job={value} onChanged={job.reload} />}</Shown>
      <Panel title="Loss">
        <Shown load={events}>{(each) => <LossCurve events={each} />}</Shown>
      </Panel>
      <Panel title="Events">
        <Shown load={events}>
          {(each) => (
            <Table
              label="Events"
              rows={each.filter(({ type }) => type === 'message')}
              id={({ id }) => id}
              columns={[
                { title: 'When', cell: ({ created_at }) => moment(created_at * 1_000) },
                { title: 'What', cell: ({ message }) => message },
              ]}
            />
          )}
        </Shown>
      </Panel>
    </Page>
  )
}

function JobCard({ path, job, onChanged }: { path: string; job: Job; onChanged: () => void }) {
  const act = useAction(async (session, action: 'cancel' | 'pause' | 'resume') => {
    await send(session, { method: 'POST', path: `${path}/${action}` })
    onChanged()
  })
  const {
    adapter,
    error,
    evaluation,
    fine_tuned_model: alias,
    progress,
    status,
    trained_tokens: tokens,
  } = job
  const isUnended = job.finished_at === null
  return (
    <>
      <Panel
        title="Status"
        actions={
          isUnended ? (
            <>
              {status === 'paused' ? (
                <button type="button" class="small" disabled={act.running} onClick={() => act.run('resume')}>
                  Resume
                </button>
              ) : (
                <button type="button" class="small" disabled={act.running} onClick={() => act.run('pause')}>
                  Pause
                </button>
              )}
              <button type="button" class="small" disabled={act.running} onClick={() => act.run('cancel')}>
                Cancel
              </button>
            </>
          ) : null
        }
      >
        {act.failure === undefined ? null : <Failure failure={act.failure} />}
        {error === null ? null : (
          <div class="notice bad" role="alert">
            <p>{error.message}</p>
          </div>
        )}
        <dl>
          <dt>Status</dt>
          <dd>
            <span class={tone[status]}>{status}</span>
          </dd>
          <dt>From</dt>
          <dd>{job.model}</dd>
          <dt>Progress</dt>
          <dd>{progress === null ? '–' : `${progress.step} of ${progress.steps} steps`}</dd>
          <dt>Expected</dt>
          <dd>{job.estimate === null ? '–' : estimateText(job.estimate)}</dd>
          {job.estimated_finish === null ? null : (
            <>
              <dt>Ends about</dt>
              <dd>{moment(job.estimated_finish * 1_000)}</dd>
            </>
          )}
          <dt>Trained</dt>
          <dd>{tokens === null ? '–' : `${number(tokens)} tokens`}</dd>
          <dt>Adapter</dt>
          <dd>{adapter === null ? '–' : <a href={href('adapters', adapter)}>{shortDigest(adapter)}</a>}</dd>
          <dt>Alias</dt>
          <dd>{alias === null ? '–' : <a href={href('models', alias)}>{alias}</a>}</dd>
        </dl>
        {alias === null ? null : <a href={href('playground', alias)}>Try it in the playground</a>}
      </Panel>
      {evaluation === null ? null : <Evaluation evaluation={evaluation} />}
    </>
  )
}

const share = (part: number): string => `${Math.round(100 * part)} %`

function Evaluation({ evaluation }: { evaluation: JobEvaluation }) {
  const { accuracy, answers_error: failed, samples, tuned_loss: tuned, untuned_loss: untuned } = evaluation
  return (
    <Panel title="Against the untuned model">
      {tuned === null || untuned === null ? (
        <p class="quiet">Nothing was measured: the file leaves no examples to set apart.</p>
      ) : (
        <p>{`Validation loss ${tuned.toFixed(4)}; untuned ${untuned.toFixed(4)}.`}</p>
      )}
      {accuracy == null ? null : (
        <p>{`Of ${accuracy.examples} validation examples ${share(accuracy.tuned)} are answered as expected; untuned ${share(accuracy.untuned)}.`}</p>
      )}
      {failed == null ? null : <p class="quiet">{`The models' answers were not compared: ${failed}.`}</p>}
      {samples.length === 0 ? null : (
        <Table
          label="Sample answers"
          rows={samples}
          id={({ prompt }) => prompt}
          columns={[
            { title: 'Prompt', cell: ({ prompt }) => prompt },
            { title: 'Expected', cell: ({ expected }) => expected },
            { title: 'Tuned', cell: (sample) => sample.tuned },
            { title: 'Untuned', cell: (sample) => sample.untuned },
          ]}
        />
      )}
    </Panel>
  )
}

/** Training and validation loss over steps, from the events of type `metrics`. */
function LossCurve({ events }: { events: readonly JobEvent[] }) {
  const points = (name: 'train_loss' | 'valid_loss') =>
    events
      .flatMap(({ data, type }) => {
        const { step, [name]: loss } = data
        return type === 'metrics' && typeof step === 'number' && typeof loss === 'number'
          ? [{ x: step, y: loss }]
          : []
      })
      .toSorted((a, b) => a.x - b.x)
  const lines = [
    { name: 'training', points: points('train_loss') },
    { name: 'validation', points: points('valid_loss') },
  ]
  if (lines.every((line) => line.points.length === 0)) return <p class="quiet">No step has been made yet.</p>
  return <Lines title="Loss by step" xTitle="step" lines={lines} />
}
