import { z } from 'zod'
import { app } from '../../edge/app.ts'
import { mintApiKey } from '../../edge/auth/api-key.ts'
import { projectDirectory } from '../../edge/directory/projection.ts'
import type { FeedPublication } from '../../edge/feed/change-feed.ts'
import type { Bindings } from '../../edge/platform.ts'
import { KvStore } from '../../edge/store/kv-store.ts'
import { storeKeys } from '../../edge/store/records.ts'
import { unlimited } from '../../shared/api/policy.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { AdapterDigest, AliasName, BackboneSlug, KeyId, TenantId } from '../../shared/ids.ts'

/**
 * The worker with a back door for `npm run bench -- tenants`: `POST /bench/seed` makes many tenants at once, through the
 * change feed and the projection that a tenant's directory uses; `POST /bench/lookup` looks keys up.
 */

export * from '../../edge/index.ts'

const Seed = z.object({ from: z.int(), count: z.int(), adapterBytes: z.int(), backbone: BackboneSlug })
const Lookup = z.object({
  /** Begin with nothing in memory. */
  cold: z.boolean(),
  keys: z.array(z.string()),
})

const alias = AliasName.parse('tone')

async function seed(body: unknown, env: Bindings): Promise<string[]> {
  const { adapterBytes, backbone, count, from } = Seed.parse(body)
  const file = crypto.getRandomValues(new Uint8Array(adapterBytes))
  const tenants = await Promise.all(
    Array.from({ length: count }, async (_, at) => {
      const id = TenantId.parse(`tenant-${from + at}`)
      const key = mintApiKey()
      const digest = AdapterDigest.parse(await sha256Hex(`${id} ${from}`))
      const sha256 = await sha256Hex(key)
      const record = { tenant: id, keyId: KeyId.parse(`key_${String(from + at).padStart(12, '0')}`) }
      return { id, key, digest, sha256, record }
    }),
  )
  const createdAt = Date.now()
  const publications: FeedPublication[] = tenants.map(({ id, record, sha256 }) => ({
    tenant: { id, createdAt, version: 1, status: 'active' },
    keys: [{ sha256, record }],
  }))
  await env.FEED.get(env.FEED.idFromName('feed')).publish(publications)
  await Promise.all(
    tenants.map(async ({ digest, id, record, sha256 }) => {
      const adapter = { digest, backbone, rows: 4 }
      await env.STORE.put(storeKeys.adapter(id, digest), file)
      await projectDirectory(new KvStore(env.STORE), {
        id,
        tenant: true,
        record: {
          id,
          createdAt,
          version: 1,
          status: 'active',
          policy: unlimited,
          forms: {},
          aliases: { [alias]: { ...adapter, updatedAt: createdAt, version: 1 } },
        },
        adapters: { version: 1, adapters: [{ ...adapter, kind: 'iapt', bytes: adapterBytes, createdAt }] },
        keys: [{ sha256, record }],
        removals: [],
        removed: () => undefined,
      })
    }),
  )
  return tenants.map(({ key }) => key)
}

let isolate: Bindings | undefined

/** Milliseconds that it took to find every key's tenant and its alias. */
async function lookUp(
  body: unknown,
  { ctx, env }: { env: Bindings; ctx: ExecutionContext },
): Promise<number> {
  const { cold, keys } = Lookup.parse(body)
  if (cold || isolate === undefined) isolate = { ...env }
  const bindings = isolate
  const ask = async (key: string | undefined) => {
    const request = new Request('http://edge/v1/models/tone', { headers: { authorization: `Bearer ${key}` } })
    const answer = await app.fetch(request, bindings, ctx)
    if (!answer.ok) throw new Error(await answer.text())
  }
  // The first request loads the feed and the backbone, which an isolate reads once for all tenants.
  await ask(keys[0])
  const started = performance.now()
  for (const key of keys.slice(1)) await ask(key)
  return performance.now() - started
}

export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url)
    if (pathname === '/bench/seed') return Response.json(await seed(await request.json(), env))
    if (pathname === '/bench/lookup') return Response.json(await lookUp(await request.json(), { env, ctx }))
    return app.fetch(request, env, ctx)
  },
} satisfies ExportedHandler<Bindings>
