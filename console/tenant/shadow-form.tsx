import { useState } from 'preact/hooks'
import { AdapterSummary, type AliasSummary } from '../../shared/api/deployments.ts'
import { send } from '../api/call.ts'
import { readAll } from '../api/pages.ts'
import { useAction } from '../api/use-action.ts'
import { useLoad } from '../api/use-load.ts'
import { Slider } from '../ui/field.tsx'
import { Failure, Shown } from '../ui/notice.tsx'
import { AdapterSelect } from './adapter-select.tsx'

/** Begins a shadow, changes its share, ends it. */
export function ShadowForm({
  path,
  alias,
  onChanged,
}: {
  path: string
  alias: AliasSummary
  onChanged: () => void
}) {
  const adapters = useLoad('adapters', (session, signal) =>
    readAll(session, AdapterSummary, { path: '/v1/adapters', signal }),
  )
  return (
    <Shown load={adapters}>
      {(each) => {
        const own = each.find(({ digest }) => digest === alias.digest)
        if (own?.tail === undefined)
          return (
            <p class="quiet">
              A second adapter that answers too, unseen by clients. Only an adapter with late rows can have
              one; the rows of this alias’s adapter stand{' '}
              {own?.placement === 'turn' ? 'in front of the newest turn' : 'at the prompt’s start'}.
            </p>
          )
        const others = each.filter(
          ({ backbone, digest, tail }) =>
            tail !== undefined && backbone === own.backbone && digest !== own.digest,
        )
        return others.length === 0 ? (
          <p class="quiet">A shadow needs a second adapter with late rows for {own.backbone}.</p>
        ) : (
          <Form path={path} alias={alias} others={others.toReversed()} onChanged={onChanged} />
        )
      }}
    </Shown>
  )
}

function Form({
  path,
  alias,
  others,
  onChanged,
}: {
  path: string
  alias: AliasSummary
  others: readonly AdapterSummary[]
  onChanged: () => void
}) {
  const { shadow } = alias
  const [digest, setDigest] = useState<string>(shadow?.digest ?? others[0]?.digest ?? '')
  const [percent, setPercent] = useState(shadow?.percent ?? 10)
  const version = { if_version: alias.version }
  const put = useAction(async (session) => {
    await send(session, { method: 'PUT', path: `${path}/shadow`, json: { digest, percent, ...version } })
    onChanged()
  })
  const end = useAction(async (session) => {
    await send(session, { method: 'DELETE', path: `${path}/shadow`, json: version })
    onChanged()
  })
  const busy = put.running || end.running
  const failure = put.failure ?? end.failure
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        put.run()
      }}
    >
      <AdapterSelect
        label="Adapter that answers too"
        value={digest}
        onValue={setDigest}
        adapters={others}
        hint="No client sees its answers. They cost tokens of shadows, which an operator grants."
      />
      <Slider
        label="Share of the requests"
        shown={`${percent} %`}
        value={percent}
        onValue={setPercent}
        min={1}
        max={100}
        step={1}
      />
      {failure === undefined ? null : <Failure failure={failure} />}
      <div class="actions">
        <button type="submit" class={shadow === undefined ? 'primary' : undefined} disabled={busy}>
          {shadow === undefined ? 'Begin shadow' : 'Change its share'}
        </button>
        {shadow === undefined ? null : (
          <button type="button" disabled={busy} onClick={() => end.run()}>
            End shadow
          </button>
        )}
      </div>
    </form>
  )
}
