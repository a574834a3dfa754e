import type { CallFailure } from '../api/call.ts'
import { duration, number, shortDigest } from '../ui/format.ts'
import { Failure } from '../ui/notice.tsx'
import type { AnswerToken, ChatAnswer } from './chat-stream.ts'

export function AnswerPane({
  answer,
  failure,
}: {
  answer: ChatAnswer | undefined
  failure: CallFailure | undefined
}) {
  return (
    <>
      <div class="answer" role="log" aria-live="polite" aria-label="Answer">
        {answer === undefined ? (
          <span class="quiet">The answer appears here.</span>
        ) : answer.tokens.length > 0 ? (
          answer.tokens.map((token, at) => <Token key={at} token={token} />)
        ) : (
          answer.text
        )}
      </div>
      {answer?.toolCalls.map(({ name, arguments: given }, at) => (
        <div key={at} class="notice">
          <p>
            Calls the tool <code>{name}</code>
          </p>
          <pre>{given}</pre>
        </div>
      ))}
      {failure === undefined ? null : <Failure failure={failure} />}
      {answer === undefined ? null : <Facts answer={answer} />}
    </>
  )
}

/** How likely the token was, and what else could have stood there: on hover, and for the keyboard on focus. */
export function Token({ token }: { token: AnswerToken }) {
  const share = Math.exp(token.logprob)
  const told = [
    `${shown(token.text)} ${percent(share)}`,
    ...token.alternatives
      .filter((other) => other.token !== token.text)
      .map((other) => `${shown(other.token)} ${percent(Math.exp(other.logprob))}`),
  ].join('\n')
  const doubt = share < 0.3 ? 'sure-0' : share < 0.7 ? 'sure-1' : ''
  return (
    <span class={`token ${doubt}`} title={told}>
      {token.text}
    </span>
  )
}

const shown = (token: string): string => JSON.stringify(token)
const percent = (share: number): string => `${(share * 100).toFixed(1)} %`

function Facts({ answer }: { answer: ChatAnswer }) {
  const { adapter, finish, firstTokenMs, node, totalMs, usage } = answer
  const seconds = (totalMs - (firstTokenMs ?? totalMs)) / 1_000
  return (
    <div class="facts">
      {firstTokenMs === undefined ? null : <span>{`first token ${duration(firstTokenMs)}`}</span>}
      {usage === undefined ? null : (
        <>
          <span>{`${number(usage.prompt)} + ${number(usage.completion)} tokens`}</span>
          {seconds > 0 ? <span>{`${((usage.completion - 1) / seconds).toFixed(1)} tokens/s`}</span> : null}
        </>
      )}
      {finish === undefined ? null : <span>{`ended by ${finish}`}</span>}
      {adapter === undefined ? null : (
        <span>{adapter === 'none' ? 'untuned' : `adapter ${shortDigest(adapter)}`}</span>
      )}
      {node === undefined ? null : <span>{`on ${node}`}</span>}
    </div>
  )
}
