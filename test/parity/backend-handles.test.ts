import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { HandleLedger } from '../fakes/handle-ledger.ts'
import { preparePagesOnCpu } from './paged-on-cpu.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

const config = { layers: 2, d: 32, heads: 2, kvHeads: 1, ffn: 32, vocab: 600 }
let tiny: TinyBackbone
let quantised: TinyBackbone
beforeAll(async () => {
  tiny = await tinyBackbone({ config })
  quantised = await tinyBackbone({ config, weights: 'q8' })
  await preparePagesOnCpu(tiny)
})
afterAll(async () => {
  for (const { folder } of [tiny, quantised]) await rm(dirname(folder), { recursive: true })
})

const forms = [
  { cacheLayout: 'host', cacheType: 'f32' },
  // Loaded twice.
  { cacheLayout: 'host', cacheType: 'f32', prefillWeights: 'f32' },
  { cacheLayout: 'slots', cacheType: 'f32' },
  { cacheLayout: 'pages', cacheType: 'f16', decodeGraph: true },
] as const

async function useBackend(form: (typeof forms)[number], opened: () => void): Promise<void> {
  await using used = new AsyncDisposableStack()
  const limits = { threads: 1, cacheRows: 600, contextLength: 300, maxBatch: 3 }
  const backbone = 'prefillWeights' in form ? quantised : tiny
  const backend = used.adopt(await openBackend(backbone, { ...form, ...limits }), (last) => last.close())
  opened()
  const slot = backend.allocate(20)
  if (slot === undefined) throw new Error('no room')
  await backend.prefill({ slot, tokens: [1, 2, 3] })
  await backend.decode([{ slot, token: 4 }])
}

/** A device refuses these where it has too little memory, or does not run a graph. */
const refusable: readonly string[] = ['CreateSession', 'CreateSessionFromArray', 'AllocatorAlloc']

test.for(forms)(
  'whichever call of ONNX Runtime fails, a backbone with its cache in $cacheLayout is freed whole, and a start names the remedy',
  async (form) => {
    using ledger = new HandleLedger()
    let opening = 0
    await useBackend(form, () => {
      opening = ledger.calls.length
    })
    expect(ledger.open).toEqual([])
    const calls = [...ledger.calls]
    // The first call of each function and the last.
    const places = [...new Set(calls)].flatMap((name) => [calls.indexOf(name), calls.lastIndexOf(name)])
    for (const place of new Set(places)) {
      const name = calls[place] ?? ''
      ledger.fail(place)
      const failure = await useBackend(form, () => {}).catch((error: unknown) => error)
      expect(failure, `${name}, call ${place}`).toMatchObject(
        place < opening && refusable.includes(name)
          ? {
              code: expect.stringMatching(/^(node_unavailable|backbone_invalid)$/),
              message: expect.stringMatching(/--cache-bytes|pull it again/),
            }
          : { message: expect.any(String) },
      )
      expect(ledger.open, `${name}, call ${place}`).toEqual([])
    }
  },
)
