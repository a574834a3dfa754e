import type { AdminClient } from '../cli/edge/admin-client.ts'
import { AliasName, type BackboneSlug, TenantId } from '../shared/ids.ts'
import type { LoadTarget } from './load.ts'
import { publishRandomAdapter } from './publish-random-adapter.ts'
import type { ManifestShape, RandomAdapter } from './random-adapter.ts'
import { freshStory, storyTokens } from './story.ts'

/** What each completion of a load asks for, where it is not the usual. */
interface Completions extends Pick<LoadTarget, 'signal'> {
  /** New tokens of each: 48. */
  readonly maxTokens?: number
  /** Length of the prompts: 6 sentences. */
  readonly sentences?: number
}

/** A tenant of a running edge, to be put under load. */
export interface BenchTenant {
  readonly edge: string
  readonly key: string
  readonly backbone: BackboneSlug
  readonly adapters: readonly AliasName[]
  /** Streamed completions by the given model for each request. */
  target(modelOf: (i: number) => string, completions?: Completions): LoadTarget
  /** Gives the tenant another adapter. */
  publish(alias: AliasName, adapter: RandomAdapter): Promise<void>
}

/** Makes a tenant of an edge with so many random adapters, whose weights are the same each time. */
export async function benchTenant(
  admin: AdminClient,
  { adapterCount, manifest }: { readonly adapterCount: number; readonly manifest: ManifestShape },
): Promise<BenchTenant> {
  const tenant = TenantId.parse('bench')
  await admin.createTenant(tenant)
  const { key } = await admin.createKey(tenant)
  const publish = async (alias: AliasName, adapter: RandomAdapter) => {
    await publishRandomAdapter(admin, { tenant, alias, manifest, ...adapter })
  }
  const adapters: AliasName[] = []
  for (let seed = 0; seed < adapterCount; seed++) {
    const alias = AliasName.parse(`adapter-${seed}`)
    await publish(alias, { seed })
    adapters.push(alias)
  }
  return {
    edge: admin.edge,
    key,
    backbone: manifest.slug,
    adapters,
    publish,
    target: (modelOf, { maxTokens = storyTokens, sentences, signal } = {}) => ({
      url: `${admin.edge}/v1/completions`,
      headers: { authorization: `Bearer ${key}` },
      body: (i) => ({
        ...freshStory(sentences),
        model: modelOf(i),
        max_tokens: maxTokens,
        ignore_eos: true,
        temperature: 0,
        stream: true,
      }),
      isToken: () => true,
      signal,
    }),
  }
}
