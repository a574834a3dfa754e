import { useState } from 'preact/hooks'
import { CreateKeyResponse, type KeySummary } from '../../shared/api/admin.ts'
import type { Scope } from '../../shared/api/scopes.ts'
import { call, send } from '../api/call.ts'
import { useAction } from '../api/use-action.ts'
import { SecretOnce } from '../ui/copy.tsx'
import { ConfirmByName } from '../ui/dialog.tsx'
import { TextField } from '../ui/field.tsx'
import { moment } from '../ui/format.ts'
import { Failure } from '../ui/notice.tsx'
import { Table } from '../ui/table.tsx'
import { ChangeScopes, ScopeBoxes, scopesText, toScopes } from './scopes.tsx'

export function Keys({
  path,
  keys,
  onChanged,
}: {
  path: string
  keys: readonly KeySummary[]
  onChanged: () => void
}) {
  const [revoking, setRevoking] = useState<KeySummary>()
  const [scoping, setScoping] = useState<KeySummary>()
  const revoke = useAction(async (session, key: KeySummary) => {
    await send(session, { method: 'DELETE', path: `${path}/keys/${encodeURIComponent(key.id)}` })
    setRevoking(undefined)
    onChanged()
  })
  return (
    <>
      {keys.length === 0 ? (
        <p class="quiet">No key: nobody can use this tenant’s models yet.</p>
      ) : (
        <Table
          label="Keys"
          rows={keys}
          id={({ id }) => id}
          columns={[
            { title: 'Key', cell: ({ id }) => <code>{id}</code> },
            { title: 'Name', cell: ({ name }) => name || '–' },
            { title: 'Created', cell: ({ createdAt }) => moment(createdAt) },
            {
              title: 'May do',
              cell: (key) => (
                <button
                  type="button"
                  class="small"
                  aria-label={`Change what ${key.name || key.id} may do: ${scopesText(key.scopes)}`}
                  onClick={() => setScoping(key)}
                >
                  {scopesText(key.scopes)}…
                </button>
              ),
            },
            { title: 'Expires', cell: ({ expiresAt }) => <Expiry expiresAt={expiresAt} /> },
            {
              title: 'Revoke',
              cell: (key) => (
                <button
                  type="button"
                  class="small"
                  aria-label={`Revoke ${key.name || key.id}`}
                  onClick={() => setRevoking(key)}
                >
                  Revoke…
                </button>
              ),
            },
          ]}
        />
      )}
      <IssueForm path={path} onIssued={onChanged} />
      {scoping === undefined ? null : (
        <ChangeScopes
          path={path}
          changing={scoping}
          onChanged={onChanged}
          onClose={() => setScoping(undefined)}
        />
      )}
      {revoking === undefined ? null : (
        <ConfirmByName
          title="Revoke the key"
          name={revoking.name || revoking.id}
          verb="Revoke"
          running={revoke.running}
          failure={revoke.failure}
          onConfirm={() => revoke.run(revoking)}
          onClose={() => setRevoking(undefined)}
        >
          <p>Requests with this key are refused within five seconds. This cannot be undone.</p>
        </ConfirmByName>
      )}
    </>
  )
}

function Expiry({ expiresAt }: { expiresAt: number | null }) {
  if (expiresAt === null) return <>never</>
  return expiresAt < Date.now() ? <span class="tag bad">expired</span> : moment(expiresAt)
}

function IssueForm({ path, onIssued }: { path: string; onIssued: () => void }) {
  const [name, setName] = useState('')
  const [expires, setExpires] = useState('')
  const [scopes, setScopes] = useState<readonly Scope[]>([])
  const [secret, setSecret] = useState<string>()
  const issue = useAction(async (session) => {
    const { key } = await call(session, CreateKeyResponse, {
      method: 'POST',
      path: `${path}/keys`,
      json: { name, scopes: toScopes(scopes), ...(expires === '' ? {} : { expiresAt: Date.parse(expires) }) },
    })
    setSecret(key)
    setName('')
    onIssued()
  })
  if (secret !== undefined) return <SecretOnce secret={secret} onDone={() => setSecret(undefined)} />
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        issue.run()
      }}
    >
      <div class="columns">
        <TextField
          label="Name of the new key"
          value={name}
          onValue={setName}
          hint="Whoever uses it, such as backend."
        />
        <TextField label="Expires" type="date" value={expires} onValue={setExpires} hint="Empty: never." />
      </div>
      <ScopeBoxes scopes={scopes} onScopes={setScopes} />
      {issue.failure === undefined ? null : <Failure failure={issue.failure} />}
      <div class="actions">
        <button type="submit" class="primary" disabled={issue.running}>
          Issue a key
        </button>
      </div>
    </form>
  )
}
