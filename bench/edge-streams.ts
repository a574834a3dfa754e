import { readdirSync, readFileSync } from 'node:fs'
import type { Figure } from './report.ts'
import { quantile } from './statistics.ts'

const streams = 16
const tokensPerStream = 500
const rounds = 5
/** Of /proc's times (`getconf CLK_TCK`). */
const ticksPerSecond = 100

export interface StreamRoute {
  readonly edge: string
  readonly node: string
  readonly key: string
  readonly model: string
}

/** What a streamed token costs the worker: 16 streams through one isolate, of a node that writes as fast as it can. */
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

/** The worker's process: this process's child of that name. */
function workerdProcess(): number {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const stat = statOf(Number(entry))
    if (stat?.name === 'workerd' && stat.parent === process.pid) return Number(entry)
  }
  throw new Error('workerd is no child of this process')
}

function cpuSeconds(pid: number): number {
  const stat = statOf(pid)
  if (stat === undefined) throw new Error('workerd is gone')
  return stat.ticks / ticksPerSecond
}

/** Name, parent and CPU time of a process (proc_pid_stat(5)). */
function statOf(pid: number): { name: string; parent: number; ticks: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const end = text.lastIndexOf(')')
    const fields = text.slice(end + 2).split(' ')
    return {
      name: text.slice(text.indexOf('(') + 1, end),
      parent: Number(fields[1]),
      ticks: Number(fields[11]) + Number(fields[12]),
    }
  } catch {
    return undefined
  }
}
