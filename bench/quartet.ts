import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { adminClient } from '../cli/edge/admin-client.ts'
import { homeAt, makeHome } from '../cli/local/home.ts'
import { edgeBackbone } from '../cli/local/local-backbone.ts'
import { ensureLocalSecrets } from '../cli/local/secrets.ts'
import { type StackOptions, startStack } from '../cli/local/stack.ts'
import { benchBackbone } from './backend.ts'
import { type BenchTenant, benchTenant } from './bench-tenant.ts'
import { closedLoop, type LoadTarget } from './load.ts'
import { storyTokens } from './story.ts'

const edgePort = 18_787
const nodePort = 18_788

/** Clients of the load, each with one request at a time. */
export const clients = 8

/** A local stack of its own, with one tenant. */
export type Quartet = BenchTenant & AsyncDisposable

/**
 * A whole local stack of its own, with one tenant and so many adapters that no node has seen; of q8 weights where no backbone
 * is given.
 */
export async function startQuartet(
  adapterCount: number,
  { backbone: served, cacheType }: Partial<Pick<StackOptions, 'backbone' | 'cacheType'>> = {},
): Promise<Quartet> {
  await using starting = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'quartet-bench-'))
  starting.defer(() => rm(folder, { recursive: true, force: true }))
  const home = homeAt(folder)
  await makeHome(home)
  const secrets = await ensureLocalSecrets(home)
  const backbone = served ?? (await benchBackbone())
  const signal = AbortSignal.timeout(120_000)
  const stack = await startStack({ home, edgePort, nodePort, secrets, backbone, cacheType, signal })
  starting.use(stack)
  const admin = adminClient({ edge: stack.edge, adminKey: secrets.adminKey })
  const { manifest } = backbone
  await admin.putBackbone(await edgeBackbone(backbone))
  const tenant = await benchTenant(admin, { adapterCount, manifest })
  const started = starting.move()
  return { ...tenant, [Symbol.asyncDispose]: () => started.disposeAsync() }
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
