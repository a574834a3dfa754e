import { useState } from 'preact/hooks'
import { FileObject } from '../../shared/api/files.ts'
import { Job, type JobStatus } from '../../shared/api/fine-tuning.ts'
import { Model } from '../../shared/api/models.ts'
import { call } from '../api/call.ts'
import { readAll } from '../api/pages.ts'
import { useAction } from '../api/use-action.ts'
import { useLoad } from '../api/use-load.ts'
import { href } from '../session/route.ts'
import { countText, estimateText } from '../ui/estimate.ts'
import { Select, TextField } from '../ui/field.tsx'
import { moment } from '../ui/format.ts'
import { Empty, Failure, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { Table } from '../ui/table.tsx'

export const tone: Readonly<Record<JobStatus, string>> = {
  validating_files: 'tag',
  queued: 'tag',
  running: 'tag',
  paused: 'tag warn',
  succeeded: 'tag',
  failed: 'tag bad',
  cancelled: 'tag warn',
}

export function Jobs() {
  const jobs = useLoad(
    'jobs',
    (session, signal) => readAll(session, Job, { path: '/v1/fine_tuning/jobs', signal }),
    { everyMs: 5_000 },
  )
  return (
    <Page title="Fine-tuning" lead="A job trains an adapter from a file and puts it under an alias.">
      <Panel title="Jobs">
        <Shown load={jobs}>
          {(each) =>
            each.length === 0 ? (
              <Empty title="No job yet">
                <p>
                  Upload a file under <a href={href('files')}>Files</a>, then start a job below.
                </p>
              </Empty>
            ) : (
              <Table
                label="Jobs"
                rows={each}
                id={({ id }) => id}
                columns={[
                  { title: 'Job', cell: ({ id }) => <a href={href('jobs', id)}>{id}</a> },
                  { title: 'Status', cell: ({ status }) => <span class={tone[status]}>{status}</span> },
                  { title: 'From', cell: ({ model }) => model },
                  {
                    title: 'Progress',
                    cell: ({ progress }) =>
                      progress === null ? '–' : `${progress.step} of ${progress.steps} steps`,
                  },
                  { title: 'Result', cell: ({ fine_tuned_model }) => fine_tuned_model ?? '–' },
                  { title: 'Created', cell: ({ created_at }) => moment(created_at * 1_000) },
                ]}
              />
            )
          }
        </Shown>
      </Panel>
      <Panel title="Start a job">
        <StartForm />
      </Panel>
    </Page>
  )
}

function StartForm() {
  const files = useLoad('files to train on', (session, signal) =>
    readAll(session, FileObject, { path: '/v1/files?purpose=fine-tune', signal }),
  )
  const models = useLoad('models', (session, signal) =>
    readAll(session, Model, { path: '/v1/models', signal }),
  )
  return (
    <Shown load={files}>
      {(ofFiles) => (
        <Shown load={models}>
          {(ofModels) =>
            ofFiles.length === 0 ? (
              <p class="quiet">
                There is no file to train on. <a href={href('files')}>Upload one</a> first.
              </p>
            ) : (
              <Form files={ofFiles} models={ofModels.map(({ id }) => id)} />
            )
          }
        </Shown>
      )}
    </Shown>
  )
}

const placements = [
  { value: 'auto', label: 'as the trainer chooses' },
  { value: 'late', label: 'behind the conversation' },
  { value: 'turn', label: 'in front of the newest turn' },
  { value: 'after-first', label: 'at the start of the prompt' },
]

function Form({ files, models }: { files: readonly FileObject[]; models: readonly string[] }) {
  const [file, setFile] = useState<string>(files[0]?.id ?? '')
  const [validation, setValidation] = useState('')
  const [model, setModel] = useState(models.at(-1) ?? '')
  const [suffix, setSuffix] = useState('')
  const [epochs, setEpochs] = useState('')
  const [placement, setPlacement] = useState('auto')
  const start = useAction(async (session) => {
    const job = await call(session, Job, {
      method: 'POST',
      path: '/v1/fine_tuning/jobs',
      json: {
        model,
        training_file: file,
        ...(validation === '' ? {} : { validation_file: validation }),
        ...(suffix === '' ? {} : { suffix }),
        method: {
          type: 'supervised',
          supervised: {
            hyperparameters: {
              ...(epochs === '' ? {} : { n_epochs: Number(epochs) }),
              placement,
            },
          },
        },
      },
    })
    location.hash = href('jobs', job.id)
  })
  const options = files.map(({ filename, id }) => ({ value: String(id), label: `${filename} (${id})` }))
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        start.run()
      }}
    >
      <div class="columns">
        <Select label="Training file" value={file} onValue={setFile} options={options} />
        <Select
          label="Validation file"
          value={validation}
          onValue={setValidation}
          options={[{ value: '', label: 'a tenth of the training file' }, ...options]}
        />
        <Select
          label="Model to start from"
          value={model}
          onValue={setModel}
          options={models.map((value) => ({ value, label: value }))}
        />
        <TextField
          label="Suffix"
          value={suffix}
          onValue={setSuffix}
          hint="Stands in the alias of the result."
        />
        <TextField
          label="Epochs"
          value={epochs}
          onValue={setEpochs}
          hint="Empty: as many as the examples need."
          wrong={epochs === '' || /^[0-9]{1,2}$/.test(epochs) ? undefined : 'Must be a whole number.'}
        />
        <Select
          label="Where its rows stand"
          value={placement}
          onValue={setPlacement}
          options={placements}
          hint="Behind the conversation suits judgements, in front of the newest turn texts. An alias to start from has its place."
        />
      </div>
      <Expected file={files.find(({ id }) => id === file)} />
      {start.failure === undefined ? null : <Failure failure={start.failure} />}
      <div class="actions">
        <button type="submit" class="primary" disabled={file === '' || start.running}>
          Start
        </button>
      </div>
    </form>
  )
}

/** The estimate of a job on the file where nothing but the file is chosen. */
function Expected({ file }: { file: FileObject | undefined }) {
  return file?.token_counts?.map((count) => (
    <p key={count.backbone} class="quiet">
      {`${countText(count)}. `}
      {count.problem === null
        ? count.estimate !== null && `With its own number of epochs: ${estimateText(count.estimate)}`
        : `It cannot be trained on as it is: ${count.problem}`}
    </p>
  ))
}
