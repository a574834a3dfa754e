import { Engine } from '../../gpu-node/engine/engine.ts'
import type { PinnedAdapter } from '../../gpu-node/engine/sequence.ts'
import { newRequestId, TenantId } from '../../shared/ids.ts'
import { type GenerateEvent, type GenerateRequest, greedySampling, type Sampling } from '../../shared/wire.ts'
import { fakeAdapter } from './fake-adapter.ts'
import { FakeBackend, fakeBackbone } from './fake-backend.ts'

export interface Ask extends Partial<Omit<GenerateRequest, 'sampling'>> {
  tenant?: string
  sampling?: Partial<Sampling>
  adapter?: never
  pin?: PinnedAdapter
  signal?: AbortSignal
}

export function engineWith(
  limits: ConstructorParameters<typeof FakeBackend>[0] = {},
  options: { total?: number } = {},
) {
  const backend = new FakeBackend(limits)
  const total = options.total ?? 1000
  let clock = 0
  const failures: unknown[] = []
  const engine = new Engine({
    backend,
    observer: { stepped: () => {}, ended: () => {}, failed: (error) => failures.push(error) },
    queue: { total, perTenant: total },
    chunkTokens: 16,
    now: () => clock,
  })
  const submit = ({ pin, sampling, signal, tenant = 'acme', ...request }: Ask) =>
    engine.submit({
      tenant: TenantId.parse(tenant),
      request: {
        requestId: newRequestId(),
        backbone: fakeBackbone,
        adapter: null,
        prompt: [1, 2, 3],
        maxTokens: 5,
        sampling: { ...greedySampling, ...sampling },
        stopTokens: [],
        logprobs: null,
        timeoutMs: 60_000,
        ...request,
      },
      adapter: pin ?? null,
      signal: signal ?? new AbortController().signal,
    })
  return { backend, engine, failures, submit, passTime: (ms: number) => (clock += ms) }
}

type Stream = AsyncIterable<readonly GenerateEvent[]>

export async function read(stream: Stream): Promise<GenerateEvent[]> {
  const events: GenerateEvent[] = []
  for await (const piece of stream) events.push(...piece)
  return events
}

export const ids = (events: readonly GenerateEvent[]) =>
  events.flatMap((event) => (event.type === 'token' ? [event.id] : []))
export const range = (count: number, start = 0) => Array.from({ length: count }, (_, at) => (at + start) % 64)

export function pinned(identity = 99, window = 0, tail?: number): PinnedAdapter & { released: number } {
  const pin = {
    loaded: fakeAdapter({ identity, window, tail }),
    released: 0,
    release() {
      pin.released = 1
    },
  }
  return pin
}

/** Resolves when `condition` holds, turning the event loop meanwhile. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve))
}
