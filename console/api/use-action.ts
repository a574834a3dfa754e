import { useState } from 'preact/hooks'
import type { Session } from '../session/session.ts'
import { useSignedIn } from '../session/session-context.ts'
import type { CallFailure } from './call.ts'
import { toFailure } from './use-load.ts'

/** Something that a person starts: it runs once at a time and tells how it failed. */
export interface Action<A extends readonly unknown[]> {
  readonly run: (...input: A) => void
  readonly running: boolean
  readonly failure: CallFailure | undefined
  readonly clear: () => void
}

export function useAction<A extends readonly unknown[]>(
  act: (session: Session, ...input: A) => Promise<void>,
): Action<A> {
  const { expired, session } = useSignedIn()
  const [running, setRunning] = useState(false)
  const [failure, setFailure] = useState<CallFailure>()
  const run = (...input: A) => {
    if (running) return
    setRunning(true)
    setFailure(undefined)
    act(session, ...input)
      .catch((thrown: unknown) => {
        const failed = toFailure(thrown)
        if (failed.status === 401) expired()
        else setFailure(failed)
      })
      .finally(() => setRunning(false))
  }
  return { run, running, failure, clear: () => setFailure(undefined) }
}
