import { createContext } from 'preact'
import { useContext } from 'preact/hooks'
import type { Session } from './session.ts'

export interface SignedIn {
  readonly session: Session
  /** Called when the edge no longer takes the key. */
  readonly expired: () => void
}

export const SessionContext = createContext<SignedIn | undefined>(undefined)

export function useSignedIn(): SignedIn {
  const signedIn = useContext(SessionContext)
  if (signedIn === undefined) throw new Error('a page stands outside the session')
  return signedIn
}
