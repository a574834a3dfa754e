import type { BenchTenant } from './bench-tenant.ts'
import { closedLoop, type LoadTarget, request, type TimedAnswer } from './load.ts'
import type { Figure } from './report.ts'
import { type MeasuredRatio, median } from './statistics.ts'

/** Adapters of each side: one for each stream. */
export const adapterCount = 16
const newTokens = 128
/** About 250 tokens: a node reads them in one chunk, whatever the length of the prompt's number. */
const longSentences = 22
/** Few, so that streams that begin at once are prefilled in one step. */
const shortSentences = 1
const promptsOfATurn = 5
/** V8 compiles what a step runs after some thousand steps; until then a side is slower. */
const warmUpTokens = 1_500

type Under = Pick<LoadTarget, 'signal'>

/** Something that is measured of each side in turn. */
export interface Measure {
  readonly name: string
  readonly unit: 'ms' | 'tok/s'
  of(tenant: BenchTenant, under: Under): Promise<number>
}

const prefill = (which: string, modelOf: (tenant: BenchTenant, i: number) => string): Measure => ({
  name: `first token of a prompt of 250, ${which}`,
  unit: 'ms',
  async of(tenant, under) {
    const target = tenant.target((i) => modelOf(tenant, i), {
      maxTokens: 1,
      sentences: longSentences,
      ...under,
    })
    const times: number[] = []
    for (let i = 0; i < promptsOfATurn; i++) times.push((await request(target, i)).firstTokenMs)
    return median(times)
  },
})

const decode = (streams: number, batches: number): Measure => ({
  name: `decode, ${streams} ${streams === 1 ? 'stream' : 'streams'}`,
  unit: 'tok/s',
  async of(tenant, under) {
    const target = tuned(tenant, { maxTokens: newTokens, ...under })
    const answers: TimedAnswer[] = []
    for (let batch = 0; batch < batches; batch++)
      answers.push(...(await Promise.all(Array.from({ length: streams }, (_, i) => request(target, i)))))
    return decodeRate(answers, { newTokens, streams })
  },
})

export const measures: readonly Measure[] = [
  prefill('untuned', ({ backbone }) => backbone),
  prefill('with an adapter', adapterOf),
  decode(1, 3),
  decode(8, 1),
  decode(16, 1),
]

/** Has a side load all its adapters and compile what steps run. */
export async function warmUp(tenant: BenchTenant, under: Under): Promise<void> {
  const each = tuned(tenant, { maxTokens: newTokens, ...under })
  await closedLoop(each, { clients: adapterCount, requests: adapterCount })
  await closedLoop(each, { clients: 1, requests: Math.ceil(warmUpTokens / newTokens) })
}

function tuned(tenant: BenchTenant, completions: Under & { readonly maxTokens: number }): LoadTarget {
  return tenant.target((i) => adapterOf(tenant, i), { sentences: shortSentences, ...completions })
}

function adapterOf({ adapters, backbone }: BenchTenant, i: number): string {
  return adapters[i % adapters.length] ?? backbone
}

/** Tokens per second over all streams, behind the first token of each. */
export function decodeRate(
  answers: readonly TimedAnswer[],
  { newTokens, streams }: { readonly newTokens: number; readonly streams: number },
): number {
  const rates = answers.map(
    ({ firstTokenMs, totalMs }) => (1000 * (newTokens - 1)) / (totalMs - firstTokenMs),
  )
  return (streams * rates.reduce((sum, rate) => sum + rate, 0)) / rates.length
}

/** What may be lost against the other checkout. */
const bounds = {
  ms: { kind: 'at most', value: 1.03 },
  'tok/s': { kind: 'at least', value: 0.97 },
} satisfies Record<Measure['unit'], Figure['bound']>

/** The rows of a measure: this checkout, the other, and their ratio with its bound. */
export function comparedFigures(
  { name, unit }: Pick<Measure, 'name' | 'unit'>,
  { a, b, ratio, ratios }: MeasuredRatio,
): readonly Figure[] {
  const [least, most] = [Math.min(...ratios), Math.max(...ratios)].map((each) => each.toFixed(3))
  return [
    { name: `${name}: this checkout`, value: a, unit },
    { name: '… the other', value: b, unit },
    {
      name: `${name}: this / the other`,
      value: ratio,
      unit: '×',
      bound: bounds[unit],
      note: `${least} to ${most} in its rounds`,
    },
  ]
}
