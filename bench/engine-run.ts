import type { Engine } from '../gpu-node/engine/engine.ts'
import type { LoadedAdapter } from '../model/runtime/backend.ts'
import type { AdapterDigest, BackboneDigest } from '../shared/ids.ts'
import { newRequestId, TenantId } from '../shared/ids.ts'
import { greedySampling } from '../shared/wire.ts'

/** One greedy request of an engine, and what came of it. */
export interface EngineRun {
  /** The time from the request to its first token. */
  readonly firstTokenMs: number
  readonly ids: readonly number[]
  /** The longest pause between two tokens. */
  readonly longestGapMs: number
  readonly cachedTokens: number
}

export interface EngineAsk {
  readonly backbone: BackboneDigest
  readonly prompt: readonly number[]
  readonly maxTokens: number
  readonly tenant?: string
  /** Tokens in front of the newest turn, for an adapter whose rows stand there. */
  readonly turn?: number | undefined
  readonly adapter?: { readonly digest: AdapterDigest; readonly loaded: LoadedAdapter }
}

const longestMs = 3_600_000

/** Runs one request to its end. */
export async function runRequest(
  engine: Engine,
  { adapter, backbone, maxTokens, prompt, tenant = 'bench', turn }: EngineAsk,
): Promise<EngineRun> {
  const start = performance.now()
  const at: number[] = []
  const ids: number[] = []
  let cachedTokens = 0
  const events = engine.submit({
    tenant: TenantId.parse(tenant),
    request: {
      requestId: newRequestId(),
      backbone,
      adapter: adapter?.digest ?? null,
      prompt: [...prompt],
      ...(turn === undefined ? {} : { turn }),
      maxTokens,
      sampling: greedySampling,
      stopTokens: [],
      logprobs: null,
      timeoutMs: longestMs,
    },
    adapter: adapter ? { loaded: adapter.loaded, release: () => {} } : null,
    signal: new AbortController().signal,
  })
  for await (const piece of events)
    for (const event of piece)
      if (event.type === 'token') {
        at.push(performance.now())
        ids.push(event.id)
      } else if (event.type === 'done') cachedTokens = event.usage.cachedTokens ?? 0
      else if (event.type === 'error') throw new Error(event.message)
  const gaps = at.slice(1).map((time, i) => time - (at[i] ?? time))
  return { firstTokenMs: (at[0] ?? start) - start, ids, longestGapMs: Math.max(0, ...gaps), cachedTokens }
}

/** Token ids that differ from one `seed` to the next. */
export function textIds(length: number, seed: number): number[] {
  return Array.from({ length }, (_, at) => 1000 + ((at * 7919 + seed * 104_729) % 20_000))
}
