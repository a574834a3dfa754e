import { useState } from 'preact/hooks'
import { AdapterSummary, PublishResponse } from '../../shared/api/deployments.ts'
import { call } from '../api/call.ts'
import { readAll } from '../api/pages.ts'
import { useAction } from '../api/use-action.ts'
import { useLoad } from '../api/use-load.ts'
import { href } from '../session/route.ts'
import { TextField } from '../ui/field.tsx'
import { bytes, moment, shortDigest } from '../ui/format.ts'
import { Empty, Failure, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { Table } from '../ui/table.tsx'

export function Adapters() {
  const adapters = useLoad('adapters', (session, signal) =>
    readAll(session, AdapterSummary, { path: '/v1/adapters', signal }),
  )
  return (
    <Page
      title="Adapters"
      lead="Tuned weights for a backbone. An adapter never changes; an alias deploys it."
    >
      <Panel title="Published">
        <Shown load={adapters}>
          {(each) =>
            each.length === 0 ? (
              <Empty title="No adapter yet">
                <p>Train one from a file of examples:</p>
                <pre>npx quartet adapter train --data examples.jsonl --out mine.safetensors</pre>
              </Empty>
            ) : (
              <Table
                label="Adapters"
                rows={each.toReversed()}
                id={({ digest }) => digest}
                columns={[
                  {
                    title: 'Digest',
                    cell: ({ digest }) => (
                      <a href={href('adapters', digest)}>
                        <code>{shortDigest(digest)}</code>
                      </a>
                    ),
                  },
                  { title: 'Kind', cell: ({ kind }) => kind },
                  { title: 'Backbone', cell: ({ backbone }) => backbone },
                  { title: 'Prompt rows', numeric: true, cell: ({ rows }) => rows },
                  { title: 'Size', numeric: true, cell: (adapter) => bytes(adapter.bytes) },
                  { title: 'Published', cell: ({ createdAt }) => moment(createdAt) },
                ]}
              />
            )
          }
        </Shown>
      </Panel>
      <Panel title="Publish an adapter">
        <PublishForm onPublished={adapters.reload} />
      </Panel>
    </Page>
  )
}

function PublishForm({ onPublished }: { onPublished: () => void }) {
  const [file, setFile] = useState<File>()
  const [alias, setAlias] = useState('')
  const [done, setDone] = useState<string>()
  const publish = useAction(async (session) => {
    if (file === undefined) return
    setDone(undefined)
    const query = alias === '' ? '' : `?${new URLSearchParams({ alias })}`
    const published = await call(session, PublishResponse, {
      method: 'POST',
      path: `/v1/adapters${query}`,
      body: file,
      headers: { 'content-type': 'application/octet-stream' },
    })
    setDone(
      `Published ${shortDigest(published.digest)}${published.alias === null ? '' : `, deployed as ${published.alias.alias}`}.`,
    )
    onPublished()
  })
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        publish.run()
      }}
    >
      <div class="columns">
        <div class="field">
          <label for="adapter-file">File</label>
          <input
            id="adapter-file"
            type="file"
            accept=".safetensors"
            onChange={(event) => setFile(event.currentTarget.files?.[0])}
          />
          <p class="hint">A safetensors file, as `quartet adapter train` writes it.</p>
        </div>
        <TextField label="Alias" value={alias} onValue={setAlias} hint="Optional: deploys it at once." />
      </div>
      {publish.failure === undefined ? null : <Failure failure={publish.failure} />}
      {done === undefined ? null : (
        <div class="notice good" role="status">
          <p>{done}</p>
        </div>
      )}
      <div class="actions">
        <button type="submit" class="primary" disabled={file === undefined || publish.running}>
          {publish.running ? 'Publishing…' : 'Publish'}
        </button>
      </div>
    </form>
  )
}
