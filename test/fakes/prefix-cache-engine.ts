import { expect } from 'vitest'
import { Engine } from '../../gpu-node/engine/engine.ts'
import { AdapterDigest, newRequestId, TenantId } from '../../shared/ids.ts'
import { type GenerateEvent, greedySampling } from '../../shared/wire.ts'
import { fakeAdapter } from './fake-adapter.ts'
import { FakeBackend, fakeBackbone } from './fake-backend.ts'
import { continuation } from './hashed-model.ts'

interface Ask {
  readonly prompt: readonly number[]
  readonly tenant?: string
  readonly adapter?: {
    readonly identity: number
    readonly window?: number
    readonly tail?: number
    readonly placement?: 'turn'
  }
  /** Tokens in front of the newest turn. */
  readonly turn?: number
  readonly signal?: AbortSignal
}

/**
 * An engine over a fake backend that keeps blocks of prompts. Each answer is held to the fake model’s continuation, and each
 * usage to what was asked.
 */
export function engineWith(prefixBytes = 100_000) {
  const backend = new FakeBackend({ chunkTokens: 512, cacheRows: 100_000, contextLength: 8192 })
  const engine = new Engine({
    backend,
    queue: { total: 100, perTenant: 100 },
    prefixBytes,
    now: () => 0,
  })
  const prefilled = () =>
    backend.calls.reduce((sum, call) => sum + (call.type === 'prefill' ? call.tokens : 0), 0)
  const begin = ({ adapter, prompt, signal, tenant = 'acme', turn }: Ask) =>
    engine.submit({
      tenant: TenantId.parse(tenant),
      request: {
        requestId: newRequestId(),
        backbone: fakeBackbone,
        adapter: adapter ? AdapterDigest.parse(adapter.identity.toString(16).padStart(64, '0')) : null,
        prompt: [...prompt],
        ...(turn !== undefined && { turn }),
        maxTokens: 8,
        sampling: greedySampling,
        stopTokens: [],
        logprobs: null,
        timeoutMs: 60_000,
      },
      adapter: adapter ? { loaded: fakeAdapter(adapter), release: () => {} } : null,
      signal: signal ?? new AbortController().signal,
    })
  const read = async (ask: Ask) => {
    const { adapter, prompt } = ask
    const stream = begin(ask)
    const events: GenerateEvent[] = []
    for await (const piece of stream) events.push(...piece)
    const last = events.at(-1)
    if (last?.type !== 'done') throw new Error('the request did not end well')
    const tokens = events.flatMap((event) => (event.type === 'token' ? [event.id] : []))
    expect(tokens).toEqual(continuation(prompt, { count: 8, identity: adapter?.identity ?? 0 }))
    expect(last.usage).toMatchObject({ promptTokens: prompt.length, completionTokens: 8 })
    const [first] = events
    expect(first).toMatchObject({ type: 'token' })
    if (first?.type === 'token') expect(first.cachedTokens).toBe(last.usage.cachedTokens)
    return { cached: last.usage.cachedTokens ?? 0, tokens }
  }
  const generate = async (ask: Ask) => {
    const before = prefilled()
    const answer = await read(ask)
    expect(prefilled() - before + answer.cached).toBe(ask.prompt.length)
    return answer
  }
  return { backend, begin, engine, generate, prefilled, read }
}

/** Token ids; others for another seed. */
export const text = (length: number, seed = 0) => Array.from({ length }, (_, at) => (at * 7 + seed) % 64)
