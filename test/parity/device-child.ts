import { readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Crossing } from '../../model/runtime/crossing.ts'
import { DeviceRows, type DeviceRowsOptions } from '../../model/runtime/device-rows.ts'
import { longChunkDifference } from '../../model/runtime/long-chunk-check.ts'
import { range } from '../../model/runtime/row-places.ts'
import { type Device, devices } from '../../model/runtime/session.ts'
import { BackboneManifest } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { adapterVariants, decodeTogether, scoreAll } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, tinyBackbone } from './tiny-backbone.ts'

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
    return {
      logits,
      together: await decodeTogether(backend, { prompts, steps: 8 }),
      crossings: await mixedSteps(on),
      longChunks: await longChunkDifference(backend),
      copiers: {
        float32: await copierOn(on, 'float32'),
        float16: await copierOn(on, 'float16'),
        int8: await copierOn(on, 'int8'),
      },
      refusals:
        on === 'webgpu'
          ? [
              await refusal({ cacheType: 'f16' }),
              await refusal({ cacheRows: 10_000_000 }),
              await refusal({ cacheLayout: 'pages', cacheType: 'f16' }),
            ]
          : [],
    }
  } finally {
    await backend.close()
  }
}

/** Says where copies of cache rows of a type run: `on the device`, or why they are refused. */
async function copierOn(on: Device, type: DeviceRowsOptions['type']): Promise<string> {
  const opened = await Crossing.open(on, [{ name: 'numbers', type: 'float32', axes: 1 }])
  try {
    const rows = await DeviceRows.open(manifest.config, { device: on, memory: opened.memory, type })
    await rows.release()
    return 'on the device'
  } catch (error) {
    if (error instanceof QuartetError) return `${error.code}: ${error.message}`
    throw error
  } finally {
    await opened.release()
  }
}

/** What a backend says that does not open on the software driver. */
async function refusal(
  options: Pick<Parameters<typeof openBackend>[1] & object, 'cacheLayout' | 'cacheRows' | 'cacheType'>,
) {
  const opened = openBackend({ folder, manifest }, { device: 'webgpu', ...options })
  return opened.then(
    async (backend) => {
      await backend.close()
      return { code: '', message: 'it opened' }
    },
    (error) => (error instanceof QuartetError ? { code: error.code, message: error.message } : String(error)),
  )
}

/**
 * 100 steps of decoding, in every fourth of which a prompt is read on: the bytes that crossed in each, and the rows that
 * one sequence has then. The backbone is as small as can be.
 */
async function mixedSteps(on: Device) {
  const config = { layers: 1, d: 16, heads: 1, kvHeads: 1, ffn: 16, vocab: 32 }
  const small = await tinyBackbone({ config })
  const backend = await openBackend(small, { device: on, maxBatch: 4, cacheRows: 1000 })
  const allocate = () => {
    const slot = backend.allocate(200)
    if (slot === undefined) throw new Error('no room')
    return slot
  }
  try {
    const [first, second] = [allocate(), allocate()]
    for (const slot of [first, second]) await backend.prefill({ slot, tokens: [5, 6, 7] })
    let reading = allocate()
    const steps = []
    for (let step = 0; step < 100; step++) {
      const before = backend.hostBytes
      const reads = step % 4 === 0
      if (reads) await backend.prefill({ slot: reading, tokens: [1, 2, 3, step % 32] })
      await backend.decode([first, second].map((slot) => ({ slot, token: step % 32 })))
      steps.push({ bytes: backend.hostBytes - before, reads, rows: first.length })
      // A request ends, and another takes its place.
      if (step % 30 !== 29) continue
      reading.release()
      reading = allocate()
    }
    return steps
  } finally {
    await backend.close()
    await rm(dirname(small.folder), { recursive: true })
  }
}
