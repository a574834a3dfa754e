import { z } from 'zod'
import { AliasName, BackboneSlug, TenantId } from '../../shared/ids.ts'
import type { Home } from './home.ts'
import { readJsonFile, writeJsonFile } from './json-file.ts'

/** `local.json`: how to reach the local stack, for people, scripts and other commands. */
export const LocalState = z.object({
  edge: z.url(),
  node: z.url(),
  backbone: BackboneSlug,
  tenants: z.array(z.object({ id: TenantId, key: z.string().min(1), aliases: z.array(AliasName) })),
})
export type LocalState = z.infer<typeof LocalState>

export function readLocalState({ localState }: Home): Promise<LocalState | undefined> {
  return readJsonFile(localState, LocalState)
}

export function writeLocalState({ localState }: Home, state: LocalState): Promise<void> {
  return writeJsonFile(localState, state)
}
