import { cpuSeconds, workerdProcess } from './process-cpu.ts'
import type { Figure } from './report.ts'
import { quantile } from './statistics.ts'

const streams = 16
const tokensPerStream = 500
const rounds = 5

export interface StreamRoute {
  readonly edge: string
  readonly node: string
  readonly key: string
  readonly model: string
}

/** The worker's cost of a streamed token: 16 streams through one isolate, of a node that writes as fast as it can. */
export async function benchStreams(route: StreamRoute): Promise<Figure[]> {
  const tokens = Array.from({ length: tokensPerStream }, (_, at) => 1_000 + (at % 500))
  await fetch(`${route.node}/stub/behaviour`, {
    method: 'PUT',
    body: JSON.stringify({ tokens, reason: 'length', isEachWritten: true }),
  })
  const worker = workerdProcess()
  await round(route)
  const measured: { perSecond: number; cpuMicroseconds: number }[] = []
  for (let i = 0; i < rounds; i++) {
    const cpu = cpuSeconds(worker)
    const startedAt = performance.now()
    await round(route)
    const seconds = (performance.now() - startedAt) / 1_000
    const count = streams * tokensPerStream
    measured.push({
      perSecond: count / seconds,
      cpuMicroseconds: ((cpuSeconds(worker) - cpu) * 1e6) / count,
    })
  }
  const median = (values: number[]) => quantile(values, 0.5)
  return [
    {
      name: `${streams} streams: tokens/s through one isolate, median of ${rounds}`,
      value: median(measured.map(({ perSecond }) => perSecond)),
      unit: 'tokens/s',
    },
    {
      name: `${streams} streams: the worker's CPU per token, median of ${rounds}`,
      value: median(measured.map(({ cpuMicroseconds }) => cpuMicroseconds)),
      unit: 'µs',
    },
  ]
}

async function round({ edge, key, model }: StreamRoute): Promise<void> {
  await Promise.all(
    Array.from({ length: streams }, async () => {
      const response = await fetch(`${edge}/v1/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model, prompt: 'Once', max_tokens: tokensPerStream, stream: true }),
      })
      const text = await response.text()
      if (!text.endsWith('data: [DONE]\n\n')) throw new Error(`a stream broke: ${text.slice(-300)}`)
    }),
  )
}
