import { z } from 'zod'
import type { Backend } from '../model/runtime/backend.ts'
import { parseAdapterFile, serializeAdapterFile } from '../shared/adapter-file.ts'
import type { BackboneManifest } from '../shared/backbone.ts'
import { openBenchBackend } from './backend.ts'
import { randomAdapter } from './random-adapter.ts'

/** Child of the engine benchmark: does one kind of work, reports this process's memory and exits. */

interface Loaded {
  readonly backend: Backend
  readonly manifest: BackboneManifest
}

const residentAdapters = 1000

const measures = {
  /** MiB of the process with a backbone and 16 sequences of 256 tokens that have decoded. */
  async sequences({ backend }: Loaded): Promise<number> {
    const slots = []
    for (let at = 0; at < 16; at++) {
      const slot = backend.allocate(256 + 32)
      if (slot === undefined) throw new Error('no room for 16 sequences of 288 rows')
      await backend.prefill({ slot, tokens: Array.from({ length: 256 }, (_, index) => 1000 + index + at) })
      slots.push(slot)
    }
    for (let step = 0; step < 24; step++)
      await backend.decode(slots.map((slot) => ({ slot, token: 1000 + step })))
    return settledBytes() / 1024 / 1024
  },

  /** The memory that a thousand resident adapters of 1 MB add, as a multiple of their files' size. */
  async adapters({ backend, manifest }: Loaded): Promise<number> {
    const file = serializeAdapterFile(randomAdapter(manifest, { seed: 1, metadata: { m: '14' } }))
    const before = settledBytes()
    const resident = Array.from({ length: residentAdapters }, () =>
      backend.loadAdapter(parseAdapterFile(file.slice())),
    )
    const added = settledBytes() - before
    return added / (resident.length * file.length)
  },
}

/** Resident memory, once garbage is gone. */
function settledBytes(): number {
  globalThis.gc?.()
  return process.memoryUsage.rss()
}

const loaded = await openBenchBackend()
const measure = z.enum(['sequences', 'adapters']).parse(process.argv[2])
process.send?.(await measures[measure](loaded))
await loaded.backend.close()
process.disconnect()
