import { readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import proto from 'onnx-proto'
import { expect, test } from 'vitest'
import { openBackend, tinyBackbone, tinyConfig } from '../../test/parity/tiny-backbone.ts'
import { checkHeads, layoutFor } from '../runtime/cache-layout.ts'
import { cacheGraphFile } from '../runtime/open-kv-cache.ts'
import { graphFiles } from './export.ts'
import { float16CacheGraph } from './float16-cache.ts'
import { pageRowsOf, reasonAgainstPages, withPagedCache } from './paged-cache.ts'

const windows = Array.from({ length: 3 }, () => ({ rotary: 0, window: 5 }))

test('each attention of a model with normed heads is one over pages, which share the block table', async ({
  onTestFinished,
}) => {
  const tiny = await tinyBackbone({ config: { qkNorms: 'each-head' } })
  onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
  const model = withPagedCache(await readFile(join(tiny.folder, graphFiles.serving)), tiny.manifest.config)
  const { graph } = proto.onnx.ModelProto.decode(model)
  const nodes = graph?.node ?? []
  const paged = nodes.filter(({ opType }) => opType === 'PagedAttention')
  expect(paged.length).toBe(3)
  expect(nodes.some(({ opType }) => opType === 'GroupQueryAttention')).toBe(false)
  for (const [layer, node] of paged.entries()) {
    const [input, output] = [node.input ?? [], node.output ?? []]
    expect(input.slice(3, 8)).toEqual([
      `past_key.${layer}`,
      `past_value.${layer}`,
      `row_starts.${layer}`,
      `past_rows.${layer}`,
      'block_table',
    ])
    expect(input[16]).toBe('row_bounds')
    expect(output.slice(1)).toEqual([`present_key.${layer}`, `present_value.${layer}`])
  }
  const inputs = (graph?.input ?? []).map(({ name }) => name)
  expect(inputs).not.toContain('last_row')
  expect(inputs).not.toContain('total_rows')
  // Nor is any node left that split them.
  const names = nodes.map(({ name }) => name)
  expect(names).toContain('token_rows.layers')
  expect(names).not.toContain('last_row.layers')
  expect(names).not.toContain('total_rows.layers')
})

test('pages are as long as the tiles that FlashAttention reads of heads of this width', () => {
  expect([64, 80, 128, 256].map((headDim) => pageRowsOf({ headDim }))).toEqual([256, 128, 128, 64])
})

test('a backbone whose attention pages do not have runs in places on CUDA, with the cache that those have', async ({
  onTestFinished,
}) => {
  const windowed = { ...tinyConfig, attention: windows }
  const scaled = { ...tinyConfig, rotary: [{ theta: 10_000, beyond: { rows: 64, factors: [2] } }] }
  expect(reasonAgainstPages(tinyConfig)).toBeUndefined()
  expect(() => withPagedCache(new Uint8Array(), windowed)).toThrow('window')
  for (const config of [windowed, scaled]) {
    expect(layoutFor(config, 'cuda')).toBe('slots')
    expect(layoutFor(config, 'cpu')).toBe('host')
  }
  expect(layoutFor(tinyConfig, 'cuda')).toBe('pages')
  const form = { layout: 'slots', type: 'f16' } as const
  expect(cacheGraphFile(form, { config: windowed, device: 'cuda' })).toBe(float16CacheGraph)
  expect(cacheGraphFile(form, { config: scaled, device: 'cuda' })).not.toBe(float16CacheGraph)
  expect(cacheGraphFile(form, { config: scaled, device: 'webgpu' })).toBe(float16CacheGraph)
  const tiny = await tinyBackbone({ config: { attention: windows } })
  onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
  for (const cacheType of ['f32', 'int8'] as const)
    await expect(openBackend(tiny, { device: 'cuda', cacheType })).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringMatching(/--cache-type (f32|int8) is not for --device cuda.*f16/),
    })
})

test('a backbone whose heads CUDA’s attention does not take is refused there, with why and what to use', () => {
  expect(() => checkHeads({ headDim: 12 }, 'cuda')).toThrow(
    expect.objectContaining({
      code: 'backbone_invalid',
      message: expect.stringMatching(/12 numbers wide.*multiples of 8.*--device webgpu or cpu/),
    }),
  )
  for (const device of ['cpu', 'webgpu'] as const) checkHeads({ headDim: 12 }, device)
  checkHeads({ headDim: 80 }, 'cuda')
})
