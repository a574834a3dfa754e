import { useState } from 'preact/hooks'
import { AdapterSummary, AliasSummary } from '../../shared/api/deployments.ts'
import { call, send } from '../api/call.ts'
import { readAll } from '../api/pages.ts'
import { useAction } from '../api/use-action.ts'
import { useLoad } from '../api/use-load.ts'
import { href } from '../session/route.ts'
import { Copy } from '../ui/copy.tsx'
import { ConfirmByName } from '../ui/dialog.tsx'
import { bytes, moment, shortDigest } from '../ui/format.ts'
import { Shown } from '../ui/notice.tsx'
import { Page, Panel } from '../ui/page.tsx'

interface AdapterInUse {
  readonly adapter: AdapterSummary
  /** Aliases that send requests to it, those of which it is the shadow among them. */
  readonly aliases: readonly AliasSummary[]
}

export function AdapterPage({ name: digest }: { name: string }) {
  const path = `/v1/adapters/${encodeURIComponent(digest)}`
  const load = useLoad(`adapter ${digest}`, async (session, signal): Promise<AdapterInUse> => {
    const [adapter, aliases] = await Promise.all([
      call(session, AdapterSummary, { path, signal }),
      readAll(session, AliasSummary, { path: '/v1/aliases', signal }),
    ])
    return {
      adapter,
      aliases: aliases.filter(({ canary, digest: own, shadow }) =>
        [own, canary?.digest, shadow?.digest].some((each) => each === digest),
      ),
    }
  })
  return (
    <Page title={`Adapter ${shortDigest(digest)}`} lead={<a href={href('adapters')}>All adapters</a>}>
      <Shown load={load}>{(value) => <Facts path={path} {...value} />}</Shown>
    </Page>
  )
}

function Facts({ path, adapter, aliases }: AdapterInUse & { path: string }) {
  const [deleting, setDeleting] = useState(false)
  const remove = useAction(async (session) => {
    await send(session, { method: 'DELETE', path })
    location.hash = href('adapters')
  })
  return (
    <>
      <Panel title="Facts">
        <dl>
          <dt>Digest</dt>
          <dd>
            <code>{adapter.digest}</code> <Copy text={adapter.digest} />
          </dd>
          <dt>Kind</dt>
          <dd>{adapter.kind}</dd>
          <dt>Backbone</dt>
          <dd>{adapter.backbone}</dd>
          <dt>Prompt rows</dt>
          <dd>{adapter.rows}</dd>
          <dt>Size</dt>
          <dd>{bytes(adapter.bytes)}</dd>
          <dt>Published</dt>
          <dd>{moment(adapter.createdAt)}</dd>
        </dl>
      </Panel>
      <Panel
        title="Deployed as"
        actions={
          <button type="button" class="small" onClick={() => setDeleting(true)}>
            Delete adapter…
          </button>
        }
      >
        {aliases.length === 0 ? (
          <p class="quiet">
            No alias sends requests to it. <a href={href('models')}>Deploy it</a>
          </p>
        ) : (
          <ul>
            {aliases.map((alias) => (
              <li key={alias.alias}>
                <a href={href('models', alias.alias)}>{alias.alias}</a>
                {alias.digest === adapter.digest ? '' : ` (canary, ${alias.canary?.percent ?? 0} %)`}
              </li>
            ))}
          </ul>
        )}
      </Panel>
      {deleting ? (
        <ConfirmByName
          title="Delete the adapter"
          name={shortDigest(adapter.digest)}
          verb="Delete"
          running={remove.running}
          failure={remove.failure}
          onConfirm={remove.run}
          onClose={() => setDeleting(false)}
        >
          <p>The file is removed from the edge. An adapter that an alias sends requests to is kept.</p>
        </ConfirmByName>
      ) : null}
    </>
  )
}
