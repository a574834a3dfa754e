import { parseAdapterFile, serializeAdapterFile } from '../shared/adapter-file.ts'
import { openBenchBackend } from './backend.ts'
import { randomAdapter } from './random-adapter.ts'

/** Child of the engine benchmark: reports its own memory, then exits. */

const MiB = 1024 * 1024

/** What the system gave this process, its peak included, once garbage is gone. */
function settled(): number {
  globalThis.gc?.()
  return process.memoryUsage.rss()
}

const { backend, manifest } = await openBenchBackend()
const slots = []
for (let at = 0; at < 16; at++) {
  const slot = backend.allocate(256 + 32)
  if (slot === undefined) throw new Error('no room for 16 sequences of 288 rows')
  const tokens = Array.from({ length: 256 }, (_, index) => 1000 + index + at)
  for (let from = 0; from < tokens.length; from += backend.limits.chunkTokens)
    await backend.prefill({ slot, tokens: tokens.slice(from, from + backend.limits.chunkTokens) })
  slots.push(slot)
}
for (let step = 0; step < 24; step++)
  await backend.decode(slots.map((slot) => ({ slot, token: 1000 + step })))
const sequencesMiB = settled() / MiB
for (const slot of slots) slot.release()

const before = settled()
let fileBytes = 0
const resident = []
const file = serializeAdapterFile(randomAdapter(manifest, { seed: 1, m: 14 }))
for (let count = 0; count < 1000; count++) {
  const received = file.slice()
  fileBytes += received.length
  resident.push(backend.loadAdapter(parseAdapterFile(received)))
}
const adaptersPerByte = (settled() - before) / fileBytes
if (resident.length !== 1000) throw new Error('the adapters must stay resident while memory is read')
process.send?.({ sequencesMiB, adaptersPerByte })
await backend.close()
