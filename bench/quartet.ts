import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { adminClient } from '../cli/edge/admin-client.ts'
import { homeAt, makeHome } from '../cli/local/home.ts'
import { edgeBackbone } from '../cli/local/local-backbone.ts'
import { ensureLocalSecrets } from '../cli/local/secrets.ts'
import { type StackOptions, startStack } from '../cli/local/stack.ts'
import { AliasName, TenantId } from '../shared/ids.ts'
import { benchBackbone } from './backend.ts'
import { closedLoop, type LoadTarget } from './load.ts'
import { publishRandomAdapter } from './publish-random-adapter.ts'
import type { RandomAdapter } from './random-adapter.ts'
import { freshStory, storyTokens } from './story.ts'

const edgePort = 18_787
const nodePort = 18_788

/** Clients of the load, each with one request at a time. */
export const clients = 8

/** A local stack of its own, with one tenant. */
export interface Quartet extends AsyncDisposable {
  readonly edge: string
  readonly key: string
  /** Completions of 48 tokens by the given model for each request. */
  target(modelOf: (i: number) => string, maxTokens?: number): LoadTarget
  readonly backbone: string
  readonly adapters: readonly string[]
  /** Gives the tenant another adapter. */
  publish(alias: AliasName, adapter: RandomAdapter): Promise<void>
}

/**
 * A whole local stack of its own, with one tenant and so many adapters that no node has seen; of q8 weights where no backbone
 * is given.
 */
export async function startQuartet(
  adapterCount: number,
  { backbone: served, cacheType }: Partial<Pick<StackOptions, 'backbone' | 'cacheType'>> = {},
): Promise<Quartet> {
  const folder = await mkdtemp(join(tmpdir(), 'quartet-bench-'))
  const home = homeAt(folder)
  await makeHome(home)
  const secrets = await ensureLocalSecrets(home)
  const backbone = served ?? (await benchBackbone())
  const signal = AbortSignal.timeout(120_000)
  const stack = await startStack({ home, edgePort, nodePort, secrets, backbone, cacheType, signal })
  const admin = adminClient({ edge: stack.edge, adminKey: secrets.adminKey })
  const tenant = TenantId.parse('bench')
  await admin.putBackbone(await edgeBackbone(backbone))
  await admin.createTenant(tenant)
  const { key } = await admin.createKey(tenant)
  const { manifest } = backbone
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
    edge: stack.edge,
    key,
    backbone: manifest.slug,
    adapters,
    publish,
    target: (modelOf, maxTokens = storyTokens) => ({
      url: `${stack.edge}/v1/completions`,
      headers: { authorization: `Bearer ${key}` },
      body: (i) => ({
        ...freshStory(),
        model: modelOf(i),
        max_tokens: maxTokens,
        ignore_eos: true,
        temperature: 0,
        stream: true,
      }),
      isToken: () => true,
    }),
    async [Symbol.asyncDispose]() {
      await stack[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Requests to eight adapters in turn. */
export function tuned(quartet: Quartet): LoadTarget {
  return quartet.target((i) => quartet.adapters[i % 8] ?? quartet.backbone)
}

/** Tokens a second over all clients. */
export async function tokensPerSecond(target: LoadTarget, requests: number): Promise<number> {
  const { requestsPerSecond } = await closedLoop(target, { clients, requests })
  return requestsPerSecond * storyTokens
}
