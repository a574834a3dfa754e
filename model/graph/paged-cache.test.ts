import { readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import proto from 'onnx-proto'
import { expect, test } from 'vitest'
import { openBackend, tinyBackbone, tinyConfig } from '../../test/parity/tiny-backbone.ts'
import { graphFiles } from './export.ts'
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

test('a backbone whose attention pages do not have is refused on CUDA, with why and what to use', async ({
  onTestFinished,
}) => {
  expect(reasonAgainstPages(tinyConfig)).toBeUndefined()
  expect(reasonAgainstPages({ ...tinyConfig, headDim: 12 })).toContain('no multiple of 8')
  expect(() => withPagedCache(new Uint8Array(), { ...tinyConfig, attention: windows })).toThrow('window')
  const windowed = await tinyBackbone({ config: { attention: windows } })
  onTestFinished(() => rm(dirname(windowed.folder), { recursive: true }))
  await expect(openBackend(windowed, { device: 'cuda', cacheType: 'f16' })).rejects.toMatchObject({
    code: 'backbone_invalid',
    message: expect.stringMatching(/--device cuda.*window of rows.*--device webgpu or cpu/),
  })
})
