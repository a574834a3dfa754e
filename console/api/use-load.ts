import { useCallback, useEffect, useState } from 'preact/hooks'
import type { Session } from '../session/session.ts'
import { useSignedIn } from '../session/session-context.ts'
import { CallFailure } from './call.ts'

/** The state of a value that a page reads. A failed reload keeps the last value and adds its failure. */
type Loaded<T> =
  | { readonly state: 'loading' }
  | { readonly state: 'failed'; readonly failure: CallFailure }
  | { readonly state: 'ready'; readonly value: T; readonly failure?: CallFailure }

export interface Load<T> {
  readonly loaded: Loaded<T>
  readonly reload: () => void
}

/** Reads on entry, when `key` changes, and every `everyMs` while the tab is visible. `read` must not depend on more than `key`. */
export function useLoad<T>(
  key: string,
  read: (session: Session, signal: AbortSignal) => Promise<T>,
  { everyMs }: { readonly everyMs?: number } = {},
): Load<T> {
  const { expired, session } = useSignedIn()
  const [held, setHeld] = useState<{ key: string; loaded: Loaded<T> }>({ key, loaded: { state: 'loading' } })
  const [round, setRound] = useState(0)
  const reload = useCallback(() => setRound((before) => before + 1), [])
  useEffect(() => {
    const stop = new AbortController()
    const load = async () => {
      try {
        const value = await read(session, stop.signal)
        if (!stop.signal.aborted) setHeld({ key, loaded: { state: 'ready', value } })
      } catch (thrown) {
        if (stop.signal.aborted) return
        const failure = toFailure(thrown)
        if (failure.status === 401) return expired()
        setHeld((before) => ({
          key,
          loaded:
            before.key === key && before.loaded.state === 'ready'
              ? { state: 'ready', value: before.loaded.value, failure }
              : { state: 'failed', failure },
        }))
      }
    }
    void load()
    const timer =
      everyMs === undefined
        ? undefined
        : setInterval(() => {
            if (document.visibilityState === 'visible') void load()
          }, everyMs)
    return () => {
      stop.abort()
      clearInterval(timer)
    }
  }, [key, round, everyMs])
  return { loaded: held.key === key ? held.loaded : { state: 'loading' }, reload }
}

export function toFailure(thrown: unknown): CallFailure {
  if (thrown instanceof CallFailure) return thrown
  return new CallFailure(thrown instanceof Error ? thrown.message : String(thrown), {
    status: 0,
    code: 'console',
  })
}
