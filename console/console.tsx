import type { ComponentType } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { Audit } from './operator/audit.tsx'
import { Fleet } from './operator/fleet.tsx'
import { TenantPage } from './operator/tenant.tsx'
import { Tenants } from './operator/tenants.tsx'
import { Training } from './operator/training.tsx'
import { AllUsage } from './operator/usage.tsx'
import { href, type PageRoute, useRoute } from './session/route.ts'
import { type Session, storedSession, storeSession } from './session/session.ts'
import { SessionContext } from './session/session-context.ts'
import { SignIn } from './sign-in.tsx'
import { AdapterPage } from './tenant/adapter.tsx'
import { Adapters } from './tenant/adapters.tsx'
import { Files } from './tenant/files.tsx'
import { JobPage } from './tenant/job.tsx'
import { Jobs } from './tenant/jobs.tsx'
import { ModelPage } from './tenant/model.tsx'
import { Models } from './tenant/models.tsx'
import { Overview } from './tenant/overview.tsx'
import { Playground } from './tenant/playground.tsx'

interface Entry {
  readonly page: string
  readonly label: string
  readonly list: ComponentType
  /** The page for an address with an argument: it shows one entry of the list. */
  readonly one?: ComponentType<{ name: string }>
}

const pages: Readonly<Record<Session['kind'], readonly Entry[]>> = {
  tenant: [
    { page: 'overview', label: 'Overview', list: Overview },
    { page: 'playground', label: 'Playground', list: Playground },
    { page: 'models', label: 'Models', list: Models, one: ModelPage },
    { page: 'adapters', label: 'Adapters', list: Adapters, one: AdapterPage },
    { page: 'files', label: 'Files', list: Files },
    { page: 'jobs', label: 'Fine-tuning', list: Jobs, one: JobPage },
  ],
  operator: [
    { page: 'fleet', label: 'Fleet', list: Fleet },
    { page: 'tenants', label: 'Tenants', list: Tenants, one: TenantPage },
    { page: 'training', label: 'Trainers', list: Training },
    { page: 'usage', label: 'Usage', list: AllUsage },
    { page: 'audit', label: 'Audit log', list: Audit },
  ],
}

export function Console() {
  const [session, setSession] = useState(storedSession)
  const [notice, setNotice] = useState<string>()
  const signIn = (next: Session) => {
    storeSession(next)
    setNotice(undefined)
    setSession(next)
  }
  const signOut = (reason?: string) => {
    storeSession(undefined)
    setNotice(reason)
    setSession(undefined)
  }
  if (session === undefined) return <SignIn notice={notice} onSignIn={signIn} />
  return <Shell key={session.key} session={session} onSignOut={signOut} />
}

function Shell({ session, onSignOut }: { session: Session; onSignOut: (reason?: string) => void }) {
  const route = useRoute()
  const main = useRef<HTMLElement>(null)
  const entries = pages[session.kind]
  const entry = entries.find(({ page }) => page === route.page) ?? entries[0]
  const signedIn = useMemo(
    () => ({
      session,
      expired: () =>
        onSignOut(
          'The key is not accepted any more: it was revoked or has expired. Sign in with another one.',
        ),
    }),
    [session],
  )
  useEffect(() => {
    main.current?.querySelector('h1')?.focus()
  }, [route.page, route.argument])
  return (
    <SessionContext.Provider value={signedIn}>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <div class="shell">
        <nav aria-label="Console">
          <p class="brand">Quartet</p>
          <p class="quiet">{session.kind === 'tenant' ? 'Tenant' : 'Operator'}</p>
          <ul>
            {entries.map(({ label, page }) => (
              <li key={page}>
                <a href={href(page)} aria-current={page === entry?.page ? 'page' : undefined}>
                  {label}
                </a>
              </li>
            ))}
          </ul>
          <ul class="foot">
            <li>
              <a href="/docs">API reference</a>
            </li>
            <li>
              <button type="button" class="link" onClick={() => onSignOut()}>
                Sign out
              </button>
            </li>
          </ul>
        </nav>
        <main id="content" ref={main} tabIndex={-1}>
          {entry === undefined ? null : <Content entry={entry} route={route} />}
        </main>
      </div>
    </SessionContext.Provider>
  )
}

function Content({ entry, route }: { entry: Entry; route: PageRoute }) {
  const { list: List, one: One } = entry
  if (One !== undefined && route.argument !== undefined)
    return <One key={route.argument} name={route.argument} />
  return <List />
}
