import { setTimeout as sleep } from 'node:timers/promises'
import { serializeAdapterFile } from '../shared/adapter-file.ts'
import type { BackboneManifest } from '../shared/backbone.ts'
import { maxAdapterBytes } from '../shared/wire.ts'
import { randomAdapter } from './random-adapter.ts'
import type { Figure } from './report.ts'
import { quantile } from './statistics.ts'
import { cpuSeconds, workerdProcess } from './worker-cpu.ts'

const paceMs = 20
/** The fewest timed requests of the neighbour, in each case: with an upload beside them and without. */
const minSamples = 300

interface UploadBench {
  readonly edge: string
  /** The key of the tenant that uploads. */
  readonly uploader: string
  /** The key of the tenant whose requests are timed. */
  readonly neighbour: string
  readonly manifest: BackboneManifest
}

/** The largest adapter file that an edge takes, less than a percent: one token table of the kind `ipt`. */
function largestAdapter(manifest: BackboneManifest): Uint8Array<ArrayBuffer> {
  const { d, vocab } = manifest.config
  const m = Math.floor((maxAdapterBytes - 64 * 1024) / (2 * (vocab + d)))
  const metadata = { kind: 'ipt', activation: 'gelu', m: String(m), l_sp: '1' }
  return serializeAdapterFile(randomAdapter(manifest, { seed: 95, metadata }))
}

/** Another tenant's latency through one isolate while an adapter of the largest size is uploaded to it, and without. */
export async function benchUpload(bench: UploadBench): Promise<readonly Figure[]> {
  const file = largestAdapter(bench.manifest)
  // Making the file blocked this process: connections that the worker closed meanwhile are noticed now, not by a request.
  await sleep(100)
  const quiet: number[] = []
  const beside: number[] = []
  const uploads: number[] = []
  const cpu: number[] = []
  const worker = workerdProcess()
  for (let round = 0; round < 2 || beside.length < minSamples; round++) {
    let isOver = false
    const started = performance.now()
    const used = cpuSeconds(worker)
    const uploading = upload(file, bench).finally(() => {
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
      name: `upload of ${(file.length / 2 ** 20).toFixed(0)} MiB`,
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

async function upload(body: Uint8Array<ArrayBuffer>, { edge, uploader }: UploadBench): Promise<void> {
  const headers = { authorization: `Bearer ${uploader}`, 'content-type': 'application/octet-stream' }
  const answer = await fetch(`${edge}/v1/adapters`, { method: 'POST', headers, body })
  if (!answer.ok) throw new Error(await answer.text())
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
