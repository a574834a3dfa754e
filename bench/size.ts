import { defaultBackbone } from '../cli/command/settings.ts'
import { requireBackbone } from '../cli/local/local-backbone.ts'
import type { Backend } from '../model/runtime/backend.ts'
import { createBackend } from '../model/runtime/create-backend.ts'
import { usualPrefillWeights } from '../model/runtime/prefill-weights.ts'
import { weightFormat } from './backend.ts'
import { report } from './report.ts'
import { decodeStep, prefill, prompt } from './sequences.ts'
import { cpuTimed, median, timed } from './statistics.ts'

export interface SizeOptions {
  readonly backbone?: string | undefined
  readonly weights?: string | undefined
}

const sequences = 16
const rows = 4096
const readTokens = 256
const rounds = 5

/**
 * `npm run bench -- size`: what a backbone takes on this machine: its files, a node's memory with 16 full sequences of 4,096
 * rows, tokens a second. The rows are copies of one prompt's, so that no hour is spent on reading.
 */
export async function benchSize({ backbone = defaultBackbone, weights }: SizeOptions): Promise<boolean> {
  const { folder, manifest } = await requireBackbone(backbone, weightFormat(weights))
  const bytes = Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0)
  const limits = {
    contextLength: rows,
    chunkTokens: readTokens,
    maxBatch: sequences,
    cacheRows: sequences * rows,
  }
  const prefillWeights = await usualPrefillWeights(manifest)
  const backend = await createBackend({ folder, manifest, device: 'cpu', limits, prefillWeights })
  try {
    const step = (batch: number) => decodeStep(backend, { batch, context: 64, adapters: [] })
    const [alone, together] = [await step(1), await step(sequences)]
    const read = { wall: [] as number[], cpu: [] as number[] }
    for (let round = 0; round < rounds; round++) {
      const once = () => readOnce(backend)
      read.cpu.push(await cpuTimed(async () => read.wall.push(await timed(once))))
    }
    const before = resident()
    const full = await fill(backend)
    const filled = resident()
    for (const slot of full) slot.release()
    const perSecond = (tokens: number, ms: number) => (1000 * tokens) / ms
    return report(`size: ${manifest.slug}, ${manifest.weights}`, [
      { name: 'files', value: bytes / 1e9, unit: 'GB' },
      { name: 'memory of the process, next to no cache', value: before / 1e9, unit: 'GB' },
      { name: `… with ${sequences} × ${rows} rows`, value: filled / 1e9, unit: 'GB' },
      { name: 'decode, batch 1', value: perSecond(1, alone), unit: 'tokens/s' },
      { name: `decode, batch ${sequences}`, value: perSecond(sequences, together), unit: 'tokens/s' },
      { name: `prefill of ${readTokens}`, value: perSecond(readTokens, median(read.wall)), unit: 'tokens/s' },
      { name: '… processor time of a token', value: median(read.cpu) / readTokens, unit: 'ms' },
    ])
  } finally {
    await backend.close()
  }
}

async function readOnce(backend: Backend): Promise<void> {
  const slot = await prefill(backend, { tokens: prompt(readTokens, backend.limits.vocab) })
  slot.release()
}

async function fill(backend: Backend) {
  const first = await prefill(backend, { tokens: prompt(readTokens, backend.limits.vocab) })
  const kept = await backend.keepRows(first, { start: 0, end: readTokens, tokens: readTokens })
  first.release()
  const slots = []
  for (let at = 0; at < sequences; at++) {
    const slot = backend.allocate(rows)
    if (slot === undefined) throw new Error('the backend has no room for the benchmark')
    await backend.putRows(slot, Array<typeof kept>(rows / readTokens).fill(kept))
    slots.push(slot)
  }
  return slots
}

/** Resident memory in bytes, once garbage is gone. */
function resident(): number {
  globalThis.gc?.()
  return process.memoryUsage.rss()
}
