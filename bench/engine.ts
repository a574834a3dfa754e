import { fork } from 'node:child_process'
import { once } from 'node:events'
import { z } from 'zod'
import type { Backend, CacheSlot, LoadedAdapter } from '../model/runtime/backend.ts'
import { openBenchBackend } from './backend.ts'
import { healthFigures } from './engine-health.ts'
import { randomAdapter } from './random-adapter.ts'
import { type Figure, report } from './report.ts'
import { compare, median, timed } from './statistics.ts'

const context = 256
const decodeSteps = 24

function prompt(length: number): number[] {
  return Array.from({ length }, (_, at) => 1000 + ((at * 7919) % 20_000))
}

async function prefill(backend: Backend, { tokens, adapter }: { tokens: number[]; adapter?: LoadedAdapter }) {
  const slot = backend.allocate(tokens.length + (adapter?.rows ?? 0) + decodeSteps + 8)
  if (slot === undefined) throw new Error('the backend has no room for the benchmark; raise its limits')
  const size = backend.limits.chunkTokens
  for (let from = 0; from < tokens.length; from += size)
    await backend.prefill({
      slot,
      tokens: tokens.slice(from, from + size),
      ...(adapter && from === 0 ? { adapter } : {}),
    })
  return slot
}

/** Median milliseconds of a decode step over sequences that each have `context` tokens. */
async function decodeStep(
  backend: Backend,
  { batch, adapters }: { batch: number; adapters: LoadedAdapter[] },
) {
  const slots: CacheSlot[] = []
  for (let at = 0; at < batch; at++) {
    const adapter = adapters[at % Math.max(1, adapters.length)]
    slots.push(await prefill(backend, { tokens: prompt(context), ...(adapter ? { adapter } : {}) }))
  }
  const rows = slots.map((slot, at) => ({ slot, token: 500 + at }))
  const times: number[] = []
  for (let step = 0; step < decodeSteps; step++) times.push(await timed(() => backend.decode(rows)))
  for (const slot of slots) slot.release()
  return median(times)
}

async function prefillTime(backend: Backend, adapter?: LoadedAdapter): Promise<number> {
  let slot: CacheSlot | undefined
  const time = await timed(async () => {
    slot = await prefill(backend, { tokens: prompt(context), ...(adapter ? { adapter } : {}) })
  })
  slot?.release()
  return time
}

/** Measures memory in a fresh process, so that this one's history does not count. */
async function memory(measure: 'sequences' | 'adapters'): Promise<number> {
  const child = fork(new URL('./engine-memory.ts', import.meta.url), [measure], {
    stdio: 'inherit',
    execArgv: ['--expose-gc'],
  })
  return z.number().parse((await once(child, 'message'))[0])
}

export async function benchEngine(): Promise<boolean> {
  const { backend, manifest } = await openBenchBackend()
  const adapters = Array.from({ length: 8 }, (_, seed) =>
    backend.loadAdapter(randomAdapter(manifest, { seed })),
  )

  const decode = await compare(7, {
    a: () => decodeStep(backend, { batch: 8, adapters }),
    b: () => decodeStep(backend, { batch: 8, adapters: [] }),
  })
  const prompts = await compare(25, {
    a: () => prefillTime(backend, adapters[0]),
    b: () => prefillTime(backend),
  })
  const batching = await compare(7, {
    a: () => decodeStep(backend, { batch: 16, adapters: [] }),
    b: () => decodeStep(backend, { batch: 1, adapters: [] }),
  })
  await backend.close()
  const sequencesMiB = await memory('sequences')
  const adaptersPerByte = await memory('adapters')

  const health = await healthFigures(manifest)

  const figures: Figure[] = [
    { name: 'decode step, batch 8', value: decode.b, unit: 'ms' },
    {
      name: 'decode step, batch 8, eight adapters / none',
      value: decode.ratio,
      unit: '×',
      bound: { kind: 'at most', value: 1.03 },
    },
    { name: 'prefill of 256 tokens', value: prompts.b, unit: 'ms' },
    {
      name: 'prefill of 256 tokens, adapter / none',
      value: prompts.ratio,
      unit: '×',
      bound: { kind: 'at most', value: 1.06 },
    },
    { name: 'decode step, batch 1', value: batching.b, unit: 'ms' },
    { name: 'decode step, batch 16', value: batching.a, unit: 'ms' },
    {
      name: 'token rate, batch 16 / batch 1',
      value: 16 / batching.ratio,
      unit: '×',
      bound: { kind: 'at least', value: 2.2 },
    },
    {
      name: 'memory, backbone and 16 sequences of 256',
      value: sequencesMiB,
      unit: 'MiB',
      bound: { kind: 'at most', value: 1.2 * 1024 },
    },
    {
      name: 'memory of 1,000 resident adapters / their files',
      value: adaptersPerByte,
      unit: '×',
      bound: { kind: 'at most', value: 1.15 },
    },
    ...health,
  ]
  return report(`engine: ${manifest.slug}, ${context} tokens of context, medians`, figures)
}
