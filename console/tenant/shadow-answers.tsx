import { useState } from 'preact/hooks'
import type { AliasSummary } from '../../shared/api/deployments.ts'
import { type ShadowAnswer, ShadowAnswerList } from '../../shared/api/shadows.ts'
import { call, send } from '../api/call.ts'
import { useAction } from '../api/use-action.ts'
import { useLoad } from '../api/use-load.ts'
import { ConfirmByName } from '../ui/dialog.tsx'
import { moment, number, shortDigest } from '../ui/format.ts'
import { Empty, Shown } from '../ui/notice.tsx'
import { Panel } from '../ui/page.tsx'
import { Token } from './answer.tsx'

const perPage = 10

/** What an alias answered and what its shadow did, side by side, newest first. Nothing where there is neither. */
export function ShadowAnswers({ path, alias }: { path: string; alias: AliasSummary }) {
  const [after, setAfter] = useState<string>()
  const [deleting, setDeleting] = useState(false)
  const query = new URLSearchParams({ limit: String(perPage), ...(after === undefined ? {} : { after }) })
  const answers = useLoad(
    `shadow answers ${alias.alias} ${query}`,
    (session, signal) => call(session, ShadowAnswerList, { path: `${path}/shadow/answers?${query}`, signal }),
    { everyMs: 3_000 },
  )
  const remove = useAction(async (session) => {
    await send(session, { method: 'DELETE', path: `${path}/shadow/answers` })
    setDeleting(false)
    setAfter(undefined)
    answers.reload()
  })
  const { loaded } = answers
  const isEmpty = loaded.state === 'ready' && loaded.value.data.length === 0
  if (alias.shadow === undefined && (isEmpty || loaded.state === 'loading')) return null
  return (
    <Panel
      title="Answers of the shadow"
      actions={
        isEmpty ? undefined : (
          <button type="button" class="small" onClick={() => setDeleting(true)}>
            Delete answers…
          </button>
        )
      }
    >
      <Shown load={answers}>
        {({ data, has_more, last_id }) =>
          data.length === 0 ? (
            <Empty title="No answer yet">
              <p>An answer appears here a moment after the client has its own.</p>
            </Empty>
          ) : (
            <>
              {data.map((each) => (
                <Pair key={each.id} pair={each} />
              ))}
              <div class="actions">
                {after === undefined ? null : (
                  <button type="button" class="small" onClick={() => setAfter(undefined)}>
                    Newest
                  </button>
                )}
                {has_more && last_id !== null ? (
                  <button type="button" class="small" onClick={() => setAfter(last_id)}>
                    Older
                  </button>
                ) : null}
              </div>
            </>
          )
        }
      </Shown>
      {deleting ? (
        <ConfirmByName
          title="Delete the answers of the shadow"
          name={alias.alias}
          verb="Delete"
          running={remove.running}
          failure={remove.failure}
          onConfirm={remove.run}
          onClose={() => setDeleting(false)}
        >
          <p>All that shadows of {alias.alias} have answered is deleted. The alias and its shadow stay.</p>
        </ConfirmByName>
      ) : null}
    </Panel>
  )
}

function Pair({ pair: { answer, at, prompt, request, shadow, version } }: { pair: ShadowAnswer }) {
  return (
    <article class="pair" aria-label={`Request ${request}`}>
      <p class="facts">
        <span>{moment(at)}</span>
        <span>version {version}</span>
        <code>{request}</code>
      </p>
      <details>
        <summary>Prompt</summary>
        <pre>{prompt}</pre>
      </details>
      <div class="columns">
        <div>
          <h3>The client got</h3>
          <p class="answer">{answer.text}</p>
          <Facts {...answer} />
        </div>
        <div>
          <h3>The shadow answered</h3>
          <p class="answer">
            {shadow.error !== null ? (
              <span class="tag bad">{shadow.error}</span>
            ) : shadow.tokens.length > 0 ? (
              shadow.tokens.map(({ logprob, token }, index) => (
                <Token key={index} token={{ text: token, logprob, alternatives: [] }} />
              ))
            ) : (
              shadow.text
            )}
          </p>
          <Facts {...shadow} />
        </div>
      </div>
    </article>
  )
}

function Facts({
  adapter,
  completion_tokens,
  finish_reason,
}: Pick<ShadowAnswer['answer'], 'adapter' | 'completion_tokens' | 'finish_reason'>) {
  return (
    <p class="facts">
      <span>{`${number(completion_tokens)} tokens`}</span>
      <span>{`ended by ${finish_reason}`}</span>
      <span>{`adapter ${shortDigest(adapter)}`}</span>
    </p>
  )
}
