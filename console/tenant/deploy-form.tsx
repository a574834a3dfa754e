import { useState } from 'preact/hooks'
import { AdapterSummary, AliasSummary } from '../../shared/api/deployments.ts'
import { call } from '../api/call.ts'
import { readAll } from '../api/pages.ts'
import { useAction } from '../api/use-action.ts'
import { useLoad } from '../api/use-load.ts'
import { href } from '../session/route.ts'
import { TextField } from '../ui/field.tsx'
import { shortDigest } from '../ui/format.ts'
import { Failure, Shown } from '../ui/notice.tsx'
import { AdapterSelect } from './adapter-select.tsx'
import { AnswerFormField, chosenForm, keptForm } from './answer-form.tsx'

/** Points an alias at one of the tenant's adapters. `alias` and `ifVersion` are given where the alias exists. */
export function DeployForm({
  alias: fixed,
  ifVersion,
  onDeployed,
}: {
  alias?: string
  ifVersion?: number
  onDeployed: () => void
}) {
  const adapters = useLoad('adapters', (session, signal) =>
    readAll(session, AdapterSummary, { path: '/v1/adapters', signal }),
  )
  return (
    <Shown load={adapters}>
      {(each) =>
        each.length === 0 ? (
          <p class="quiet">
            There is no adapter to deploy. <a href={href('adapters')}>Publish one</a> first.
          </p>
        ) : (
          <Form adapters={each.toReversed()} alias={fixed} ifVersion={ifVersion} onDeployed={onDeployed} />
        )
      }
    </Shown>
  )
}

function Form({
  adapters,
  alias: fixed,
  ifVersion,
  onDeployed,
}: {
  adapters: readonly AdapterSummary[]
  alias: string | undefined
  ifVersion: number | undefined
  onDeployed: () => void
}) {
  const [alias, setAlias] = useState(fixed ?? '')
  const [digest, setDigest] = useState<string>(adapters[0]?.digest ?? '')
  const [formChoice, setFormChoice] = useState(keptForm)
  const [done, setDone] = useState<string>()
  const form = chosenForm(formChoice, alias)
  const deploy = useAction(async (session) => {
    setDone(undefined)
    if (!form.ok) return
    const { version } = await call(session, AliasSummary, {
      method: 'PUT',
      path: `/v1/aliases/${encodeURIComponent(alias)}`,
      json: {
        digest,
        ...(form.form === undefined ? {} : { response_format: form.form }),
        ...(ifVersion === undefined ? {} : { if_version: ifVersion }),
      },
    })
    setFormChoice(keptForm)
    setDone(`${alias} names ${shortDigest(digest)} from now on (version ${version}).`)
    onDeployed()
  })
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        deploy.run()
      }}
    >
      <div class="columns">
        {fixed === undefined ? (
          <TextField
            label="Alias"
            value={alias}
            onValue={setAlias}
            required
            hint="What requests put in `model`. An alias that exists moves to the adapter."
          />
        ) : null}
        <AdapterSelect label="Adapter" value={digest} onValue={setDigest} adapters={adapters} />
        <AnswerFormField
          choice={formChoice}
          onChoice={setFormChoice}
          wrong={form.ok ? undefined : form.message}
        />
      </div>
      {deploy.failure === undefined ? null : <Failure failure={deploy.failure} />}
      {done === undefined ? null : (
        <div class="notice good" role="status">
          <p>{done}</p>
        </div>
      )}
      <div class="actions">
        <button type="submit" class="primary" disabled={alias === '' || !form.ok || deploy.running}>
          {deploy.running ? 'Deploying…' : 'Deploy'}
        </button>
      </div>
    </form>
  )
}
