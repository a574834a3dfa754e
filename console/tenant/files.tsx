import { useState } from 'preact/hooks'
import { FileObject, FilePurpose } from '../../shared/api/files.ts'
import { call, send } from '../api/call.ts'
import { readAll } from '../api/pages.ts'
import { useAction } from '../api/use-action.ts'
import { useLoad } from '../api/use-load.ts'
import { ConfirmByName } from '../ui/dialog.tsx'
import { countText, estimateText } from '../ui/estimate.ts'
import { Select } from '../ui/field.tsx'
import { bytes, moment, number } from '../ui/format.ts'
import { Empty, Failure, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { Table } from '../ui/table.tsx'

export function Files() {
  const files = useLoad('files', (session, signal) =>
    readAll(session, FileObject, { path: '/v1/files', signal }),
  )
  const [deleting, setDeleting] = useState<FileObject>()
  const remove = useAction(async (session, file: FileObject) => {
    await send(session, { method: 'DELETE', path: `/v1/files/${file.id}` })
    setDeleting(undefined)
    files.reload()
  })
  return (
    <Page title="Files" lead="Examples to train on, one JSON object on each line.">
      <Panel title="Uploaded">
        <Shown load={files}>
          {(each) =>
            each.length === 0 ? (
              <Empty title="No file yet">
                <pre>{'{"messages":[{"role":"user","content":"…"},{"role":"assistant","content":"…"}]}'}</pre>
              </Empty>
            ) : (
              <Table
                label="Files"
                rows={each}
                id={({ id }) => id}
                columns={[
                  { title: 'File', cell: ({ filename }) => filename },
                  { title: 'Id', cell: ({ id }) => <code>{id}</code> },
                  { title: 'Purpose', cell: ({ purpose }) => purpose },
                  { title: 'Lines', numeric: true, cell: ({ lines }) => number(lines) },
                  {
                    title: 'Tokens',
                    numeric: true,
                    cell: ({ token_counts }) =>
                      token_counts?.map(({ backbone, is_exact, tokens }) => (
                        <div
                          key={backbone}
                          title={backbone}
                        >{`${is_exact ? '' : '≈ '}${number(tokens)}`}</div>
                      )) ?? '–',
                  },
                  { title: 'Size', numeric: true, cell: (file) => bytes(file.bytes) },
                  { title: 'Uploaded', cell: ({ created_at }) => moment(created_at * 1_000) },
                  {
                    title: 'Delete',
                    cell: (file) => (
                      <button
                        type="button"
                        class="small"
                        aria-label={`Delete ${file.filename}`}
                        onClick={() => setDeleting(file)}
                      >
                        Delete…
                      </button>
                    ),
                  },
                ]}
              />
            )
          }
        </Shown>
      </Panel>
      <Panel title="Upload a file">
        <UploadForm onUploaded={files.reload} />
      </Panel>
      {deleting === undefined ? null : (
        <ConfirmByName
          title="Delete the file"
          name={deleting.filename}
          verb="Delete"
          running={remove.running}
          failure={remove.failure}
          onConfirm={() => remove.run(deleting)}
          onClose={() => setDeleting(undefined)}
        >
          <p>Models that were trained from it stay. A file that a job reads is kept.</p>
        </ConfirmByName>
      )}
    </Page>
  )
}

const purposes: readonly { readonly value: FilePurpose; readonly label: string }[] = FilePurpose.options.map(
  (value) => ({ value, label: value }),
)

function UploadForm({ onUploaded }: { onUploaded: () => void }) {
  const [file, setFile] = useState<File>()
  const [purpose, setPurpose] = useState<FilePurpose>('fine-tune')
  const [done, setDone] = useState<FileObject>()
  const upload = useAction(async (session) => {
    if (file === undefined) return
    setDone(undefined)
    const form = new FormData()
    form.set('purpose', purpose)
    form.set('file', file)
    setDone(await call(session, FileObject, { method: 'POST', path: '/v1/files', body: form }))
    onUploaded()
  })
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        upload.run()
      }}
    >
      <div class="columns">
        <div class="field">
          <label for="training-file">File</label>
          <input
            id="training-file"
            type="file"
            accept=".jsonl"
            onChange={(event) => setFile(event.currentTarget.files?.[0])}
          />
          <p class="hint">JSONL. Each line is checked while the file is sent.</p>
        </div>
        <Select label="Purpose" value={purpose} onValue={setPurpose} options={purposes} />
      </div>
      {upload.failure === undefined ? null : <Failure failure={upload.failure} />}
      {done === undefined ? null : (
        <div class="notice good" role="status">
          <p>{`${done.filename}: ${number(done.lines)} lines, all of them right.`}</p>
          {done.token_counts?.map((count) => (
            <div key={count.backbone} class="prose">
              <p>{`${countText(count)}.`}</p>
              {count.problem === null ? null : <p>{`It cannot be trained on as it is: ${count.problem}`}</p>}
              {count.estimate === null ? null : <p>{`A job takes ${estimateText(count.estimate)}`}</p>}
            </div>
          ))}
        </div>
      )}
      <div class="actions">
        <button type="submit" class="primary" disabled={file === undefined || upload.running}>
          {upload.running ? 'Uploading…' : 'Upload'}
        </button>
      </div>
    </form>
  )
}
