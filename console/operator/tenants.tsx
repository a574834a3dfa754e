import { useState } from 'preact/hooks'
import { z } from 'zod'
import { TenantList } from '../../shared/api/admin.ts'
import { call, send } from '../api/call.ts'
import { useAction } from '../api/use-action.ts'
import { useLoad } from '../api/use-load.ts'
import { href } from '../session/route.ts'
import { TextField } from '../ui/field.tsx'
import { moment } from '../ui/format.ts'
import { Empty, Failure, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { Table } from '../ui/table.tsx'

const pageSize = 100

export function Tenants() {
  const [after, setAfter] = useState<string>()
  const query = new URLSearchParams({ limit: String(pageSize), ...(after === undefined ? {} : { after }) })
  const tenants = useLoad(`tenants ${after}`, (session, signal) =>
    call(session, TenantList, { path: `/admin/v1/tenants?${query}`, signal }),
  )
  return (
    <Page title="Tenants">
      <Panel title="All tenants">
        <Shown load={tenants}>
          {({ tenants: each, has_more, last_id }) =>
            each.length === 0 ? (
              <Empty title={after === undefined ? 'No tenant yet' : 'No more tenants'} />
            ) : (
              <>
                <Table
                  label="Tenants"
                  rows={each}
                  id={({ id }) => id}
                  columns={[
                    { title: 'Tenant', cell: ({ id }) => <a href={href('tenants', id)}>{id}</a> },
                    {
                      title: 'Status',
                      cell: ({ status }) => (
                        <span class={status === 'active' ? 'tag' : 'tag bad'}>{status}</span>
                      ),
                    },
                    { title: 'Created', cell: ({ createdAt }) => moment(createdAt) },
                  ]}
                />
                <div class="actions">
                  {after === undefined ? null : (
                    <button type="button" class="small" onClick={() => setAfter(undefined)}>
                      First page
                    </button>
                  )}
                  {has_more && last_id !== null ? (
                    <button type="button" class="small" onClick={() => setAfter(last_id)}>
                      Next page
                    </button>
                  ) : null}
                </div>
              </>
            )
          }
        </Shown>
      </Panel>
      <Panel title="Create a tenant">
        <CreateForm />
      </Panel>
    </Page>
  )
}

const Created = z.object({ id: z.string() })

function CreateForm() {
  const [id, setId] = useState('')
  const create = useAction(async (session) => {
    const response = await send(session, { method: 'POST', path: '/admin/v1/tenants', json: { id } })
    location.hash = href('tenants', Created.parse(await response.json()).id)
  })
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        create.run()
      }}
    >
      <TextField label="Name" value={id} onValue={setId} required hint="Its policy and keys come next." />
      {create.failure === undefined ? null : <Failure failure={create.failure} />}
      <div class="actions">
        <button type="submit" class="primary" disabled={id === '' || create.running}>
          Create
        </button>
      </div>
    </form>
  )
}
