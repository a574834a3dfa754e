import { useState } from 'preact/hooks'
import { AuditPage } from '../../shared/api/audit.ts'
import { call } from '../api/call.ts'
import { useLoad } from '../api/use-load.ts'
import { TextField } from '../ui/field.tsx'
import { moment } from '../ui/format.ts'
import { Empty, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { Table } from '../ui/table.tsx'

interface Filter {
  readonly tenant: string
  readonly actor: string
  readonly action: string
  readonly since: string
}

const all: Filter = { tenant: '', actor: '', action: '', since: '' }

function queryOf({ since, ...texts }: Filter, after: string | undefined): URLSearchParams {
  const query = new URLSearchParams({ limit: '50' })
  for (const [name, text] of Object.entries(texts)) if (text.trim() !== '') query.set(name, text.trim())
  const from = Date.parse(since)
  if (!Number.isNaN(from)) query.set('since', String(from))
  if (after !== undefined) query.set('after', after)
  return query
}

export function Audit() {
  const [draft, setDraft] = useState(all)
  const [filter, setFilter] = useState(all)
  const [after, setAfter] = useState<string>()
  const query = queryOf(filter, after)
  const page = useLoad(`audit ${query}`, (session, signal) =>
    call(session, AuditPage, { path: `/admin/v1/audit?${query}`, signal }),
  )
  return (
    <Page title="Audit log" lead="Every action that changed something, newest first.">
      <Panel title="Filters">
        <form
          onSubmit={(event) => {
            event.preventDefault()
            setAfter(undefined)
            setFilter(draft)
          }}
        >
          <div class="columns">
            <TextField
              label="Tenant"
              value={draft.tenant}
              onValue={(tenant) => setDraft({ ...draft, tenant })}
            />
            <TextField
              label="Actor"
              value={draft.actor}
              onValue={(actor) => setDraft({ ...draft, actor })}
              hint="admin, or a key’s id."
            />
            <TextField
              label="Action"
              value={draft.action}
              onValue={(action) => setDraft({ ...draft, action })}
              hint="Such as key.revoke, or key for all of keys."
            />
            <TextField
              label="Since"
              type="datetime-local"
              value={draft.since}
              onValue={(since) => setDraft({ ...draft, since })}
            />
          </div>
          <div class="actions">
            <button type="submit" class="primary">
              Apply
            </button>
            <button
              type="button"
              onClick={() => {
                setDraft(all)
                setFilter(all)
                setAfter(undefined)
              }}
            >
              Clear
            </button>
          </div>
        </form>
      </Panel>
      <Panel title="Actions">
        <Shown load={page}>
          {({ data, has_more, last_id }) =>
            data.length === 0 ? (
              <Empty title="Nothing matches" />
            ) : (
              <>
                <Table
                  label="Actions"
                  rows={data}
                  id={({ id }) => String(id)}
                  columns={[
                    { title: 'When', cell: ({ at }) => moment(at) },
                    { title: 'Actor', cell: ({ actor }) => <code>{actor}</code> },
                    { title: 'Action', cell: ({ action }) => action },
                    { title: 'Tenant', cell: ({ tenant }) => tenant ?? '–' },
                    {
                      title: 'Target',
                      cell: ({ target }) => (
                        <code>
                          {Object.entries(target)
                            .map(([name, value]) => `${name}=${value}`)
                            .join(' ')}
                        </code>
                      ),
                    },
                    {
                      title: 'Outcome',
                      cell: ({ outcome }) => (
                        <span class={outcome === 'ok' ? 'tag' : 'tag bad'}>{outcome}</span>
                      ),
                    },
                  ]}
                />
                {has_more && last_id !== null ? (
                  <div class="actions">
                    <button type="button" class="small" onClick={() => setAfter(last_id)}>
                      Older
                    </button>
                  </div>
                ) : null}
              </>
            )
          }
        </Shown>
      </Panel>
    </Page>
  )
}
