import { useEffect, useState } from 'preact/hooks'
import { CallFailure, send } from './api/call.ts'
import { toFailure } from './api/use-load.ts'
import { type Session, sessionOf } from './session/session.ts'
import { TextField } from './ui/field.tsx'
import { Failure } from './ui/notice.tsx'

/** A cheap call that only a working key of its kind may make. */
const probe: Readonly<Record<Session['kind'], string>> = {
  tenant: '/v1/models?limit=1',
  operator: '/admin/v1/tenants?limit=1',
}

export function SignIn({
  notice,
  onSignIn,
}: {
  notice: string | undefined
  onSignIn: (session: Session) => void
}) {
  const [key, setKey] = useState('')
  const [running, setRunning] = useState(false)
  const [failure, setFailure] = useState<CallFailure>()
  useEffect(() => {
    document.title = 'Sign in · Quartet console'
  }, [])
  const signIn = async () => {
    const session = sessionOf(key.trim())
    setRunning(true)
    setFailure(undefined)
    try {
      await send(session, { path: probe[session.kind] })
      onSignIn(session)
    } catch (thrown) {
      setFailure(explained(toFailure(thrown)))
    } finally {
      setRunning(false)
    }
  }
  return (
    <main class="sign-in">
      <h1>Quartet console</h1>
      {notice === undefined ? null : (
        <div class="notice warn" role="status">
          <p>{notice}</p>
        </div>
      )}
      <form
        onSubmit={(event) => {
          event.preventDefault()
          signIn().catch(() => undefined)
        }}
      >
        <TextField
          label="Key"
          type="password"
          value={key}
          onValue={setKey}
          required
          hint="A tenant’s key (qk_…), or the operator’s admin key. This tab holds it until it is closed, and nothing else does."
        />
        {failure === undefined ? null : <Failure failure={failure} />}
        <button type="submit" class="primary" disabled={key.trim() === '' || running}>
          {running ? 'Signing in…' : 'Sign in'}
        </button>
      </form>
    </main>
  )
}

function explained(failure: CallFailure): CallFailure {
  if (failure.status !== 401) return failure
  return new CallFailure('This key does not work. It may be mistyped, expired or revoked.', {
    status: failure.status,
    code: failure.code,
  })
}
