import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { range } from '../../model/runtime/row-places.ts'
import { type Device, devices } from '../../model/runtime/session.ts'
import { BackboneManifest } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { scoreAll } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend } from './tiny-backbone.ts'

/**
 * Opens a backbone on a device in a process of its own, whose environment says where drivers are, and reads one tuned
 * prompt. usage: device-open-child.ts FOLDER DEVICE; prints the logits or the refusal as JSON.
 */
const [folder = '', name = ''] = process.argv.slice(2)
const named = devices.find((known) => known === name)
if (named === undefined) throw new Error(`unknown device ${name}`)
const manifest = BackboneManifest.parse(JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')))

async function read(device: Device): Promise<{ logits: readonly number[] }> {
  const backend = await openBackend({ folder, manifest }, { device })
  try {
    const adapter = backend.loadAdapter(randomAdapter(manifest, { seed: 3 }))
    const tokens = range(0, 19).map((i) => (i * 47 + 3) % 256)
    return { logits: [...(await scoreAll(backend, { tokens, adapter }))] }
  } finally {
    await backend.close()
  }
}

const outcome = await read(named).catch((error: unknown) => {
  if (!(error instanceof QuartetError)) throw error
  return { code: error.code, message: error.message }
})
process.stdout.write(JSON.stringify(outcome))
