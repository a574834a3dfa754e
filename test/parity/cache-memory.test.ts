import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { cacheBytesOf, cacheRowBytes, rowsInBudget } from '../../model/runtime/cache-budget.ts'
import { decodeDifference } from '../../model/runtime/decode-check.ts'
import { longChunkDifference } from '../../model/runtime/long-chunk-check.ts'
import { DeviceMemory } from '../../model/runtime/ort/device-memory.ts'
import { tensorBytes } from '../../model/runtime/ort/value.ts'
import { preparePagesOnCpu } from './paged-on-cpu.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

const forms = [
  { layout: 'slots', type: 'f32' },
  { layout: 'pages', type: 'f16' },
] as const

let tiny: TinyBackbone
beforeAll(async () => {
  tiny = await tinyBackbone()
  await preparePagesOnCpu(tiny)
})
afterAll(async () => {
  await rm(dirname(tiny.folder), { recursive: true })
})

test.for(forms)(
  'a node starts with the least --cache-bytes that is accepted, and takes no more ($layout)',
  async ({ layout, type }, { onTestFinished }) => {
    const { config } = tiny.manifest
    const of = { config, layout, type }
    const rowBytes = cacheRowBytes(config, type)
    const allocate = vi.spyOn(DeviceMemory.prototype, 'allocate')
    onTestFinished(() => allocate.mockRestore())
    const least = cacheBytesOf(64, of)
    expect(() => rowsInBudget(least - 1, of)).toThrow(`give at least ${least}`)
    for (const bytes of [least, least + rowBytes, 5000 * rowBytes])
      for (const keptBytes of bytes === least ? [0, 300 * rowBytes] : [300 * rowBytes]) {
        allocate.mockClear()
        const cacheRows = rowsInBudget(bytes, of)
        const backend = await openBackend(tiny, {
          cacheLayout: layout,
          cacheType: type,
          cacheRows,
          contextLength: Math.min(config.contextLength, cacheRows),
          maxBatch: 16,
          keptBytes,
          threads: 1,
        })
        const taken = allocate.mock.calls.reduce((sum, [shape]) => sum + tensorBytes(shape), 0)
        expect(taken).toBeLessThanOrEqual(bytes + keptBytes)
        // No more than that fits: a row of places takes three, and a page may be whole.
        expect(taken).toBeGreaterThan(bytes + keptBytes - (layout === 'slots' ? 3 : 2 * 256) * rowBytes)
        expect(await longChunkDifference(backend)).toBeLessThan(0.03)
        expect(await decodeDifference(backend)).toBeLessThan(0.03)
        expect(backend.takenRows).toBe(0)
        await backend.close()
      }
  },
)

test('a device without room for a cache says what it takes and which settings lower it', async ({
  onTestFinished,
}) => {
  const spy = vi.spyOn(DeviceMemory.prototype, 'allocate').mockImplementation(() => {
    throw new Error('out of memory')
  })
  onTestFinished(() => spy.mockRestore())
  const mib = (rows: number, of: (typeof forms)[number]) =>
    Math.ceil((rows * cacheRowBytes(tiny.manifest.config, of.type)) / 2 ** 20)
  for (const [form, running] of [
    [forms[0], 50_001 + 1000],
    // Whole pages, and one that is nobody's.
    [forms[1], 256 * 197],
  ] as const)
    await expect(
      openBackend(tiny, {
        cacheLayout: form.layout,
        cacheType: form.type,
        cacheRows: 50_001,
        contextLength: 1000,
        keptBytes: 3 * 2 ** 20,
      }),
    ).rejects.toMatchObject({
      code: 'node_unavailable',
      message: expect.stringMatching(
        `needs ${mib(running, form)} MiB for running requests and 1 MiB for stacked adapters.*--cache-bytes or --cache-rows.* 3 MiB for kept prefixes.*--prefix-bytes`,
      ),
    })
})
