import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TenantId } from '../../shared/ids.ts'
import type { AdminClient } from '../edge/admin-client.ts'
import { type DemoAdapter, knownDemoDigests } from './demo-adapters.ts'
import type { Home } from './home.ts'
import { edgeBackbone } from './local-backbone.ts'
import type { LocalState } from './local-state.ts'

export interface SeedOptions {
  readonly home: Home
  readonly edge: string
  readonly backbone: Backbone
  readonly adapters: readonly DemoAdapter[]
  /** The state that the last start wrote. Keys in it that still work are kept. */
  readonly previous: LocalState | undefined
}

/**
 * Brings an edge to the state that the demo shows: backbone, tenants, keys, adapters, aliases. Things that are there
 * already stay, an alias that somebody moved included. Returns the tenants as `local.json` lists them.
 */
export async function seed(admin: AdminClient, options: SeedOptions): Promise<LocalState['tenants']> {
  const { home, edge, backbone, adapters, previous } = options
  await admin.putBackbone(await edgeBackbone(backbone))
  const ours = await knownDemoDigests(home)
  const tenants: LocalState['tenants'] = []
  for (const { tenant, digest, bytes } of adapters) {
    await createUnlessThere(admin, tenant.id)
    const { aliases } = await admin.showTenant(tenant.id)
    const current = aliases.find(({ alias }) => alias === tenant.alias)?.digest
    if (current === undefined || (current !== digest && ours.has(current))) {
      await admin.putAdapter(tenant.id, { digest, bytes })
      await admin.setAlias(tenant.id, { alias: tenant.alias, digest })
    }
    const known = previous?.tenants.find(({ id }) => id === tenant.id)?.key
    const key =
      known !== undefined && (await keyWorks(edge, known))
        ? known
        : (await admin.createKey(tenant.id, { name: 'quartet start' })).key
    const names = new Set([...aliases.map(({ alias }) => alias), tenant.alias])
    tenants.push({ id: tenant.id, key, aliases: [...names].sort() })
  }
  return tenants
}

async function createUnlessThere(admin: AdminClient, id: TenantId): Promise<void> {
  try {
    await admin.createTenant(id)
  } catch (error) {
    if (!(error instanceof QuartetError && error.code === 'conflict')) throw error
  }
}

async function keyWorks(edge: string, key: string): Promise<boolean> {
  const response = await fetch(`${edge}/v1/models`, { headers: { authorization: `Bearer ${key}` } })
  await response.body?.cancel()
  return response.ok
}
