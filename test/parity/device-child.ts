import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { range } from '../../model/runtime/row-places.ts'
import { type Device, devices } from '../../model/runtime/session.ts'
import { BackboneManifest } from '../../shared/backbone.ts'
import { adapterVariants, decodeTogether, scoreAll } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend } from './tiny-backbone.ts'

/**
 * Runs a backbone on a device in a process of its own, as drivers are found through variables that must be set before
 * it starts. usage: device-child.ts FOLDER DEVICE; prints what `deviceOutputs` gives as JSON.
 */
const [folder = '', name = ''] = process.argv.slice(2)
const device = devices.find((known) => known === name)
if (device === undefined) throw new Error(`unknown device ${name}`)
const manifest = BackboneManifest.parse(JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')))
process.stdout.write(JSON.stringify(await deviceOutputs(device)))

async function deviceOutputs(on: Device) {
  const backend = await openBackend({ folder, manifest }, { device: on, maxBatch: adapterVariants.length })
  try {
    const tokens = range(0, 19).map((i) => (i * 47 + 3) % 256)
    const adapters = adapterVariants.map(
      (metadata) => metadata && backend.loadAdapter(randomAdapter(manifest, { seed: 3, ...metadata })),
    )
    const logits: number[][] = []
    for (const adapter of adapters) logits.push([...(await scoreAll(backend, { tokens, adapter }))])
    const prompts = adapters.map((adapter, i) => ({ tokens: tokens.slice(i), adapter }))
    return { logits, together: await decodeTogether(backend, { prompts, steps: 8 }) }
  } finally {
    await backend.close()
  }
}
