import { useState } from 'preact/hooks'
import { AliasDetail, Deployment } from '../../shared/api/deployments.ts'
import { call, send } from '../api/call.ts'
import { readAll } from '../api/pages.ts'
import { useAction } from '../api/use-action.ts'
import { useLoad } from '../api/use-load.ts'
import { href } from '../session/route.ts'
import { ConfirmByName } from '../ui/dialog.tsx'
import { moment, shortDigest } from '../ui/format.ts'
import { Failure, Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'
import { Table } from '../ui/table.tsx'
import { ShownForm } from './answer-form.tsx'
import { CanaryForm } from './canary-form.tsx'
import { DeployForm } from './deploy-form.tsx'
import { ShadowAnswers } from './shadow-answers.tsx'
import { ShadowForm } from './shadow-form.tsx'

export function ModelPage({ name }: { name: string }) {
  const path = `/v1/aliases/${encodeURIComponent(name)}`
  const alias = useLoad(`alias ${name}`, (session, signal) => call(session, AliasDetail, { path, signal }), {
    everyMs: 10_000,
  })
  const history = useLoad(`history ${name}`, (session, signal) =>
    readAll(session, Deployment, { path: `${path}/history`, signal }),
  )
  const changed = () => {
    alias.reload()
    history.reload()
  }
  return (
    <Page
      title={name}
      lead={
        <>
          An alias. <a href={href('models')}>All models</a>
        </>
      }
    >
      <Shown load={alias}>{(summary) => <AliasCard path={path} alias={summary} onChanged={changed} />}</Shown>
      <Panel title="Versions">
        <Shown load={history}>
          {(versions) => <Versions path={path} versions={versions} onChanged={changed} />}
        </Shown>
      </Panel>
    </Page>
  )
}

function AliasCard({ path, alias, onChanged }: { path: string; alias: AliasDetail; onChanged: () => void }) {
  const [deleting, setDeleting] = useState(false)
  const remove = useAction(async (session) => {
    await send(session, { method: 'DELETE', path })
    location.hash = href('models')
  })
  return (
    <>
      <div class="columns">
        <Panel title="Serving">
          <dl>
            <dt>Adapter</dt>
            <dd>
              <a href={href('adapters', alias.digest)}>
                <code>{shortDigest(alias.digest)}</code>
              </a>
            </dd>
            <dt>Version</dt>
            <dd>{alias.version}</dd>
            <dt>Changed</dt>
            <dd>{moment(alias.updatedAt)}</dd>
            <dt>Form of its answers</dt>
            <dd>
              <ShownForm form={alias.response_format} />
            </dd>
          </dl>
          <div class="actions">
            <a href={href('playground', alias.alias)}>Try it in the playground</a>
            <button type="button" class="small" onClick={() => setDeleting(true)}>
              Delete alias…
            </button>
          </div>
        </Panel>
        <Panel title="Canary">
          <CanaryForm key={alias.version} path={path} alias={alias} onChanged={onChanged} />
        </Panel>
      </div>
      <div class="columns">
        <Panel title="Deploy another adapter">
          <DeployForm alias={alias.alias} ifVersion={alias.version} onDeployed={onChanged} />
        </Panel>
        <Panel title="Shadow">
          <ShadowForm key={alias.version} path={path} alias={alias} onChanged={onChanged} />
        </Panel>
      </div>
      <ShadowAnswers path={path} alias={alias} />
      {deleting ? (
        <ConfirmByName
          title="Delete the alias"
          name={alias.alias}
          verb="Delete"
          running={remove.running}
          failure={remove.failure}
          onConfirm={remove.run}
          onClose={() => setDeleting(false)}
        >
          <p>
            Requests that ask for {alias.alias} will fail within five seconds. The adapter and the history
            stay.
          </p>
        </ConfirmByName>
      ) : null}
    </>
  )
}

function Versions({
  path,
  versions,
  onChanged,
}: {
  path: string
  versions: readonly Deployment[]
  onChanged: () => void
}) {
  const rollBack = useAction(async (session, version: number) => {
    await send(session, { method: 'POST', path: `${path}/rollback`, json: { version } })
    onChanged()
  })
  const newest = versions[0]
  return (
    <>
      {rollBack.failure === undefined ? null : <Failure failure={rollBack.failure} />}
      <Table
        label="Versions"
        rows={versions}
        id={({ version }) => String(version)}
        columns={[
          { title: 'Version', numeric: true, cell: ({ version }) => version },
          { title: 'What happened', cell: ({ action }) => action },
          {
            title: 'Adapter',
            cell: ({ digest }) => (digest === null ? '–' : <code>{shortDigest(digest)}</code>),
          },
          {
            title: 'Canary',
            cell: ({ canary }) =>
              canary === null ? '–' : `${canary.percent} % to ${shortDigest(canary.digest)}`,
          },
          {
            title: 'Shadow',
            cell: ({ shadow }) =>
              shadow === undefined ? '–' : `${shadow.percent} % to ${shortDigest(shadow.digest)}`,
          },
          {
            title: 'Form',
            cell: ({ response_format: form }) => (form === null ? '–' : (form.name ?? form.type)),
          },
          { title: 'By', cell: ({ by }) => <code>{by}</code> },
          { title: 'When', cell: ({ at }) => moment(at) },
          {
            title: 'Roll back',
            cell: ({ digest, version }) =>
              digest === null || digest === newest?.digest ? (
                '–'
              ) : (
                <button
                  type="button"
                  class="small"
                  disabled={rollBack.running}
                  aria-label={`Roll back to version ${version}`}
                  onClick={() => rollBack.run(version)}
                >
                  Roll back
                </button>
              ),
          },
        ]}
      />
    </>
  )
}
