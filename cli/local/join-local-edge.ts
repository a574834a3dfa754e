import type { Home } from './home.ts'
import { readLocalState } from './local-state.ts'
import { readLocalSecrets } from './secrets.ts'

/** The settings of a node, by flag or environment. */
interface GivenSettings {
  readonly secret?: string | undefined
  readonly edge?: string | undefined
}

/** The settings that a home's stack adds to it. */
export interface LocalMembership {
  readonly edge: string
  readonly secret: string
}

/**
 * How a node joins the stack that has run on a home: with its edge and its secret. Undefined where a secret is given,
 * where an edge is given that is not the home's own (its secret would be a wrong one there), and where none has run.
 */
export async function joinLocalEdge(
  home: Home,
  { edge, secret }: GivenSettings,
): Promise<LocalMembership | undefined> {
  if (secret !== undefined) return undefined
  const [state, secrets] = await Promise.all([readLocalState(home), readLocalSecrets(home)])
  if (state === undefined || secrets === undefined) return undefined
  if (edge !== undefined && URL.parse(edge)?.origin !== new URL(state.edge).origin) return undefined
  return { edge: state.edge, secret: secrets.nodeSecret }
}
