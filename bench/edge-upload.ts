import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { cpuSeconds, workerdProcess } from './process-cpu.ts'
import type { Figure } from './report.ts'
import { quantile } from './statistics.ts'

const paceMs = 20
/** The fewest timed requests of the neighbour, in each case: with an upload beside them and without. */
const minSamples = 300

interface UploadBench {
  readonly edge: string
  /** The key of the tenant that uploads. */
  readonly uploader: string
  /** The key of the tenant whose requests are timed. */
  readonly neighbour: string
}

/** Another tenant's latency through one isolate while an adapter of the largest size is uploaded to it, and without. */
export async function benchUpload(bench: UploadBench): Promise<readonly Figure[]> {
  const uploader = fork(new URL('./upload-process.ts', import.meta.url), { stdio: 'inherit' })
  try {
    return await figuresOf(uploader, bench)
  } finally {
    uploader.disconnect()
  }
}

async function figuresOf(uploader: ChildProcess, bench: UploadBench): Promise<readonly Figure[]> {
  const bytes = z.int().parse(await answer(uploader))
  const quiet: number[] = []
  const beside: number[] = []
  const uploads: number[] = []
  const cpu: number[] = []
  const worker = workerdProcess()
  for (let round = 0; round < 2 || beside.length < minSamples; round++) {
    let isOver = false
    const started = performance.now()
    const used = cpuSeconds(worker)
    uploader.send({ edge: bench.edge, key: bench.uploader })
    const uploading = answer(uploader).then(() => {
      isOver = true
      uploads.push(performance.now() - started)
    })
    const during = await timeRequests(bench, () => isOver)
    await uploading
    const usedBeside = cpuSeconds(worker) - used
    beside.push(...during)
    quiet.push(...(await timeRequests(bench, (sent) => sent === during.length)))
    cpu.push(1_000 * (usedBeside - (cpuSeconds(worker) - used - usedBeside)))
  }
  const p99 = { quiet: quantile(quiet, 0.99), beside: quantile(beside, 0.99) }
  return [
    {
      name: `upload of ${(bytes / 2 ** 20).toFixed(0)} MiB`,
      value: quantile(uploads, 0.5),
      unit: 'ms',
    },
    {
      name: "the worker's CPU for it, KV's simulation in the same process included",
      value: quantile(cpu, 0.5),
      unit: 'ms',
    },
    { name: "another tenant's request, p99", value: p99.quiet, unit: 'ms' },
    { name: 'the same beside an upload, p99', value: p99.beside, unit: 'ms' },
    {
      name: 'added by the upload to the p99',
      value: p99.beside - p99.quiet,
      unit: 'ms',
      bound: { kind: 'at most', value: 50 },
    },
  ]
}

async function answer(child: ChildProcess): Promise<unknown> {
  const exit = once(child, 'exit').then(() => {
    throw new Error('the process that uploads ended')
  })
  const [message]: unknown[] = await Promise.race([once(child, 'message'), exit])
  return message
}

/** Open loop, so that a frozen isolate delays every request that would have come meanwhile. */
async function timeRequests(
  { edge, neighbour }: UploadBench,
  isOver: (sent: number) => boolean,
): Promise<readonly number[]> {
  const timed: Promise<number>[] = []
  const start = performance.now()
  while (!isOver(timed.length)) {
    const due = start + timed.length * paceMs
    await sleep(Math.max(0, due - performance.now()))
    timed.push(timeModels({ edge, neighbour }, due))
  }
  return Promise.all(timed)
}

/** Milliseconds from when the request was due. */
async function timeModels({ edge, neighbour }: Pick<UploadBench, 'edge' | 'neighbour'>, due: number) {
  const answer = await fetch(`${edge}/v1/models`, { headers: { authorization: `Bearer ${neighbour}` } })
  if (!answer.ok) throw new Error(await answer.text())
  await answer.arrayBuffer()
  return performance.now() - due
}
