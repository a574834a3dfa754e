import { useState } from 'preact/hooks'
import {
  AdapterSummary,
  type AliasSummary,
  CanaryReport,
  type CanaryShare,
  type CanarySide,
} from '../../shared/api/deployments.ts'
import { call, send } from '../api/call.ts'
import { readAll } from '../api/pages.ts'
import { useAction } from '../api/use-action.ts'
import { useLoad } from '../api/use-load.ts'
import { href } from '../session/route.ts'
import { Select, Slider } from '../ui/field.tsx'
import { duration, moment, number } from '../ui/format.ts'
import { Failure, Shown } from '../ui/notice.tsx'
import { Table } from '../ui/table.tsx'
import { AdapterSelect } from './adapter-select.tsx'

const shares: readonly { readonly value: CanaryShare; readonly label: string }[] = [
  { value: 'request', label: 'of the requests' },
  { value: 'user', label: 'of the users, always the same ones' },
]

/** Begins a canary, changes its share, promotes or aborts it. */
export function CanaryForm({
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
    <>
      {alias.canary === null ? null : <LiveCounts path={path} alias={alias} />}
      <Shown load={adapters}>
        {(each) => {
          const others = each.filter(({ digest }) => digest !== alias.digest)
          return others.length === 0 ? (
            <p class="quiet">A canary needs a second adapter.</p>
          ) : (
            <Form path={path} alias={alias} others={others.toReversed()} onChanged={onChanged} />
          )
        }}
      </Shown>
    </>
  )
}

const sides: readonly { readonly side: CanarySide; readonly label: string }[] = [
  { side: 'stable', label: 'Alias' },
  { side: 'canary', label: 'Canary' },
]

/** The answers of each side since the canary began. */
function LiveCounts({ path, alias }: { path: string; alias: AliasSummary }) {
  const report = useLoad(
    `canary ${alias.alias} ${alias.version}`,
    (session, signal) => call(session, CanaryReport, { path: `${path}/canary`, signal }),
    { everyMs: 3_000 },
  )
  return (
    <Shown load={report}>
      {(counts) => {
        const total = counts.stable.requests + counts.canary.requests
        const shareOf = (requests: number) =>
          total === 0 ? '–' : `${number(requests)} (${Math.round((100 * requests) / total)} %)`
        return (
          <>
            <Table
              label="Requests since the canary began"
              rows={sides}
              id={({ side }) => side}
              columns={[
                { title: 'Side', cell: ({ label }) => label },
                { title: 'Requests', numeric: true, cell: ({ side }) => shareOf(counts[side].requests) },
                { title: 'Errors', numeric: true, cell: ({ side }) => number(counts[side].errors) },
                {
                  title: 'Tokens',
                  numeric: true,
                  cell: ({ side }) => number(counts[side].completion_tokens),
                },
                {
                  title: 'First token',
                  numeric: true,
                  cell: ({ side }) => {
                    const ms = counts[side].first_token_ms
                    return ms === null ? '–' : duration(ms)
                  },
                },
              ]}
            />
            <p class="hint">
              Since {moment(counts.since.at)}, renewed every three seconds.{' '}
              <a href={href('playground', `${alias.alias}@canary`)}>Compare both in the playground</a>
            </p>
          </>
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
  const { canary } = alias
  const [digest, setDigest] = useState<string>(canary?.digest ?? others[0]?.digest ?? '')
  const [percent, setPercent] = useState(canary?.percent ?? 10)
  const [by, setBy] = useState<CanaryShare>(canary?.by ?? 'request')
  const version = { if_version: alias.version }
  const put = useAction(async (session) => {
    await send(session, { method: 'PUT', path: `${path}/canary`, json: { digest, percent, by, ...version } })
    onChanged()
  })
  const end = useAction(async (session, how: 'promote' | 'abort') => {
    const request =
      how === 'promote'
        ? ({ method: 'POST', path: `${path}/promote` } as const)
        : ({ method: 'DELETE', path: `${path}/canary` } as const)
    await send(session, { ...request, json: version })
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
        label="Adapter that takes the share"
        value={digest}
        onValue={setDigest}
        adapters={others}
      />
      <Slider
        label="Share"
        shown={`${percent} %`}
        value={percent}
        onValue={setPercent}
        min={1}
        max={99}
        step={1}
      />
      <Select label="Counted by" value={by} onValue={setBy} options={shares} />
      {failure === undefined ? null : <Failure failure={failure} />}
      <div class="actions">
        <button type="submit" class={canary === null ? 'primary' : undefined} disabled={busy}>
          {canary === null ? 'Begin canary' : 'Change share'}
        </button>
        {canary === null ? null : (
          <>
            <button type="button" class="primary" disabled={busy} onClick={() => end.run('promote')}>
              Promote
            </button>
            <button type="button" disabled={busy} onClick={() => end.run('abort')}>
              Abort
            </button>
          </>
        )}
      </div>
    </form>
  )
}
