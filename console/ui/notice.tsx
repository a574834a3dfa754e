import type { ComponentChildren } from 'preact'
import type { CallFailure } from '../api/call.ts'
import type { Load } from '../api/use-load.ts'

export function Failure({ failure, retry }: { failure: CallFailure; retry?: () => void }) {
  return (
    <div class="notice bad" role="alert">
      <p>{failure.message}</p>
      <p class="quiet">
        <code>{failure.code}</code>
        {failure.param === null ? null : (
          <>
            {' '}
            at <code>{failure.param}</code>
          </>
        )}
        {failure.retryAfterSeconds === undefined ? null : `, try again in ${failure.retryAfterSeconds} s`}
      </p>
      {retry === undefined ? null : (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  )
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  )
}

/** Shows what was read, or that it is being read, or why it could not be. */
export function Shown<T>({ load, children }: { load: Load<T>; children: (value: T) => ComponentChildren }) {
  const { loaded, reload } = load
  if (loaded.state === 'loading')
    return (
      <div class="loading" role="status" aria-label="Loading">
        <span class="bar" />
        <span class="bar" />
        <span class="bar" />
      </div>
    )
  if (loaded.state === 'failed') return <Failure failure={loaded.failure} retry={reload} />
  return (
    <>
      {loaded.failure === undefined ? null : (
        <div class="notice warn" role="status">
          <p>What you see may be old: {loaded.failure.message}</p>
          <button type="button" onClick={reload}>
            Try again
          </button>
        </div>
      )}
      {children(loaded.value)}
    </>
  )
}
