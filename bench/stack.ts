import { CliFailure } from '../cli/command/failure.ts'
import { checkCacheType } from '../model/runtime/cache-layout.ts'
import { benchBackbone, cacheTypeNamed, weightFormat } from './backend.ts'
import { request } from './load.ts'
import { type PeerOptions, peerFiles } from './peer-files.ts'
import { clients, type Quartet, startQuartet, tokensPerSecond, tuned } from './quartet.ts'
import { type Figure, report } from './report.ts'
import { stackAgainstPeer } from './stack-peer.ts'
import { median } from './statistics.ts'
import { storyTokens } from './story.ts'

const requests = 48
const rounds = 3
const adapterCount = 24

/** Time to first token: an adapter's first use at the node, its second, and the untuned backbone. */
async function firstUse(quartet: Quartet): Promise<Figure[]> {
  const first: number[] = []
  const repeat: number[] = []
  const base: number[] = []
  const untuned = quartet.target(() => quartet.backbone, { maxTokens: 1 })
  await request(untuned, 0)
  for (const [i, alias] of quartet.adapters.entries()) {
    const tuned = quartet.target(() => alias, { maxTokens: 1 })
    first.push((await request(tuned, i)).firstTokenMs)
    repeat.push((await request(tuned, i)).firstTokenMs)
    base.push((await request(untuned, i)).firstTokenMs)
  }
  return [
    { name: 'first token, untuned', value: median(base), unit: 'ms' },
    { name: 'first token, adapter in use before', value: median(repeat), unit: 'ms' },
    {
      name: 'first use of an adapter adds',
      value: median(first.map((ms, i) => ms - (repeat[i] ?? 0))),
      unit: 'ms',
      bound: { kind: 'at most', value: 60 },
    },
    {
      name: 'a repeat adds, against untuned',
      value: median(repeat.map((ms, i) => ms - (base[i] ?? 0))),
      unit: 'ms',
      bound: { kind: 'at most', value: 5 },
    },
  ]
}

async function alone(quartet: Quartet): Promise<Figure[]> {
  const adapters = tuned(quartet)
  const untuned = quartet.target(() => quartet.backbone)
  const results: { tuned: number; untuned: number }[] = []
  for (let round = 0; round < rounds; round++)
    results.push({
      tuned: await tokensPerSecond(adapters, requests),
      untuned: await tokensPerSecond(untuned, requests),
    })
  return [
    { name: 'Quartet, eight adapters', value: median(results.map((r) => r.tuned)), unit: 'tok/s' },
    {
      name: 'Quartet, eight adapters / untuned',
      value: median(results.map((r) => r.tuned / r.untuned)),
      unit: '×',
    },
  ]
}

export interface StackBenchOptions extends PeerOptions {
  readonly weights?: string | undefined
  readonly 'cache-type'?: string | undefined
}

/** `npm run bench -- stack`: the whole stack by itself, or with `--peer` against llama.cpp's server. */
export async function benchStack({
  'cache-type': type,
  weights: named,
  ...options
}: StackBenchOptions): Promise<boolean> {
  const weights = weightFormat(named)
  const cacheType = cacheTypeNamed(type)
  if (cacheType !== undefined) checkCacheType(cacheType, { device: 'cpu' })
  const peer = peerFiles(options)
  const cache = cacheType === undefined ? '' : `, KV cache in ${cacheType}`
  const load = `${clients} clients, about 70 prompt tokens, ${storyTokens} new tokens each${cache}`
  if (peer === undefined) {
    await using quartet = await startQuartet(adapterCount, {
      backbone: await benchBackbone(weights),
      cacheType,
    })
    return report(`stack: ${load}`, [...(await firstUse(quartet)), ...(await alone(quartet))])
  }
  if (weights !== undefined && weights !== 'q8' && weights !== 'q4')
    throw new CliFailure(`--weights ${weights} is compared with no file`, { remedy: 'give q8 or q4' })
  return report(
    `stack against llama.cpp: ${load}, medians of ${peer.rounds} rounds`,
    await stackAgainstPeer({ ...peer, weights: weights ?? 'q8', cacheType }),
  )
}
