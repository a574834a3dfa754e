import { fork } from 'node:child_process'
import { once } from 'node:events'
import { z } from 'zod'
import type { Backend, CacheSlot, LoadedAdapter } from '../model/runtime/backend.ts'
import { openBenchBackend } from './backend.ts'
import { healthFigures } from './engine-health.ts'
import { benchEngineAgainstPeer } from './engine-peer.ts'
import { type PeerOptions, peerFiles } from './peer-files.ts'
import { randomAdapter } from './random-adapter.ts'
import { type Figure, report } from './report.ts'
import { decodeStep, decodeStepsInTurn, prefill, prompt } from './sequences.ts'
import { compare, timed } from './statistics.ts'

const context = 256

/** Tokens of the prompts that each form of the weights reads: a short one, and one of the context. */
const promptSizes = [70, context]

async function prefillTime(
  backend: Backend,
  {
    adapter,
    tokens = context,
  }: { readonly adapter?: LoadedAdapter | undefined; readonly tokens?: number } = {},
): Promise<number> {
  let slot: CacheSlot | undefined
  const time = await timed(async () => {
    slot = await prefill(backend, { tokens: prompt(tokens), ...(adapter ? { adapter } : {}) })
  })
  slot?.release()
  return time
}

/** Prompts read by a copy of the weights in f32, against by those that are stored. */
async function floatPrompts(): Promise<Figure[]> {
  const [f32, stored] = [
    await openBenchBackend({ prefillWeights: 'f32' }),
    await openBenchBackend({ prefillWeights: 'stored' }),
  ]
  const figures: Figure[] = []
  for (const tokens of promptSizes) {
    const { ratio } = await compare(9, {
      a: () => prefillTime(f32.backend, { tokens }),
      b: () => prefillTime(stored.backend, { tokens }),
    })
    figures.push({ name: `prefill of ${tokens} tokens, weights in f32 / stored`, value: ratio, unit: '×' })
  }
  await f32.backend.close()
  await stored.backend.close()
  return figures
}

/** Measures memory in a fresh process, so that this one's history does not count. */
async function memory(measure: 'sequences' | 'adapters'): Promise<number> {
  const child = fork(new URL('./engine-memory.ts', import.meta.url), [measure], {
    stdio: 'inherit',
    execArgv: ['--expose-gc'],
  })
  return z.number().parse((await once(child, 'message'))[0])
}

/** `npm run bench -- engine`: one node's engine, or with `--peer` its rates against llama.cpp's. */
export async function benchEngine(options: PeerOptions): Promise<boolean> {
  const peer = peerFiles(options)
  if (peer !== undefined) return await benchEngineAgainstPeer(peer)
  const { backend, manifest } = await openBenchBackend()
  const adapters = Array.from({ length: 8 }, (_, seed) =>
    backend.loadAdapter(randomAdapter(manifest, { seed })),
  )

  const decode = await decodeStepsInTurn(backend, { batch: 8, context, adapters })
  const prompts = await compare(25, {
    a: () => prefillTime(backend, { adapter: adapters[0] }),
    b: () => prefillTime(backend),
  })
  const batching = await compare(7, {
    a: () => decodeStep(backend, { batch: 16, context, adapters: [] }),
    b: () => decodeStep(backend, { batch: 1, context, adapters: [] }),
  })
  await backend.close()
  const floats = await floatPrompts()
  const sequencesMiB = await memory('sequences')
  const adaptersPerByte = await memory('adapters')

  const health = await healthFigures(manifest)

  const figures: Figure[] = [
    { name: 'decode step, batch 8', value: decode.untuned, unit: 'ms' },
    {
      name: 'decode step, batch 8, eight adapters / none',
      value: decode.ratio,
      unit: '×',
      bound: { kind: 'at most', value: 1.02 },
    },
    { name: 'prefill of 256 tokens', value: prompts.b, unit: 'ms' },
    {
      name: 'prefill of 256 tokens, adapter / none',
      value: prompts.ratio,
      unit: '×',
      bound: { kind: 'at most', value: 1.05 },
    },
    ...floats,
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
