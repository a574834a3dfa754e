import { useState } from 'preact/hooks'
import { type KeySummary, KeySummary as KeySummarySchema } from '../../shared/api/admin.ts'
import { Scope, type Scopes } from '../../shared/api/scopes.ts'
import { call } from '../api/call.ts'
import { useAction } from '../api/use-action.ts'
import { Dialog } from '../ui/dialog.tsx'
import { Failure } from '../ui/notice.tsx'

const meanings: Readonly<Record<Scope, string>> = {
  inference: 'ask models',
  deploy: 'publish adapters, move aliases',
  train: 'upload examples, run jobs',
  'read-only': 'look at everything, change nothing',
}

export const scopesText = (scopes: Scopes): string => scopes?.join(', ') ?? 'everything'

/** Ticks what a key may do; no tick is everything. */
export function ScopeBoxes({
  scopes,
  onScopes,
}: {
  scopes: readonly Scope[]
  onScopes: (scopes: readonly Scope[]) => void
}) {
  return (
    <fieldset>
      <legend>What the key may do. Without a tick: everything.</legend>
      {Scope.options.map((scope) => (
        <label key={scope} class="check">
          <input
            type="checkbox"
            checked={scopes.includes(scope)}
            onChange={(event) =>
              onScopes(
                Scope.options.filter((each) =>
                  each === scope ? event.currentTarget.checked : scopes.includes(each),
                ),
              )
            }
          />
          <span>
            {scope} <span class="quiet">({meanings[scope]})</span>
          </span>
        </label>
      ))}
    </fieldset>
  )
}

export const toScopes = (ticked: readonly Scope[]): Scopes => (ticked.length === 0 ? null : [...ticked])

export function ChangeScopes({
  path,
  changing,
  onChanged,
  onClose,
}: {
  path: string
  changing: KeySummary
  onChanged: () => void
  onClose: () => void
}) {
  const [ticked, setTicked] = useState<readonly Scope[]>(changing.scopes ?? [])
  const save = useAction(async (session) => {
    await call(session, KeySummarySchema, {
      method: 'PATCH',
      path: `${path}/keys/${encodeURIComponent(changing.id)}`,
      json: { scopes: toScopes(ticked) },
    })
    onChanged()
    onClose()
  })
  return (
    <Dialog title={`What ${changing.name || changing.id} may do`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          save.run()
        }}
      >
        <ScopeBoxes scopes={ticked} onScopes={setTicked} />
        <p class="hint">Holds within five seconds.</p>
        {save.failure === undefined ? null : <Failure failure={save.failure} />}
        <div class="actions">
          <button type="button" onClick={onClose}>
            Keep it
          </button>
          <button type="submit" class="primary" disabled={save.running}>
            Save
          </button>
        </div>
      </form>
    </Dialog>
  )
}
