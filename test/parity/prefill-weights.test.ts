import { mkdir, readFile, rm, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import proto from 'onnx-proto'
import { expect, onTestFinished, test } from 'vitest'
import { prepareInt8Cache } from '../../model/calibration/int8-cache.ts'
import { graphFiles } from '../../model/graph/export.ts'
import { withFloatMatrices } from '../../model/graph/float-matrices.ts'
import { matrixFormats } from '../../model/graph/matrix-format.ts'
import { q8BesideQ4 } from '../../model/graph/quantised-matrix.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { range } from '../../model/runtime/row-places.ts'
import { adapterVariants, allocated, scoreAll } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import {
  openBackend,
  type TinyBackbone,
  type TinyOptions,
  tinyBackbone,
  tinyConfig,
} from './tiny-backbone.ts'

const tokens = range(0, 162).map((n) => (n * 31 + 3) % 256)
/** No width is a whole number of blocks; heads of 16 are not filled up. */
const oddWidths = { ...tinyConfig, d: 72, heads: 3, kvHeads: 1, headDim: 16, ffn: 100, tiedHead: false }

async function made(options: TinyOptions): Promise<TinyBackbone> {
  const tiny = await tinyBackbone({ config: oddWidths, ...options })
  onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
  return tiny
}

async function opened(
  tiny: TinyBackbone,
  options: NonNullable<Parameters<typeof openBackend>[1]> = {},
): Promise<OnnxBackend> {
  const backend = await openBackend(tiny, { threads: 1, ...options })
  onTestFinished(() => backend.close())
  return backend
}

/** The weights that a backbone in `weights` serves, stored in f32. */
function dequantised(weights: 'q8' | 'q4'): Promise<TinyBackbone> {
  const columnsOf: Readonly<Record<string, number>> = { o: 48, down: oddWidths.ffn }
  const products = ['q', 'k', 'v', 'o', 'gate', 'up', 'down']
  return made({
    weights: 'f32',
    alter(name, values) {
      const kind = name.split('.').at(-1) ?? ''
      const isEmbedding = kind === 'embedding'
      if (!isEmbedding && !products.includes(kind)) return values
      const format = isEmbedding && weights === 'q4' ? q8BesideQ4 : matrixFormats[weights]
      const columns = columnsOf[kind] ?? oddWidths.d
      const stored = format.encode(values, columns)
      const shape = { rows: values.length / columns, columns }
      return format.decode(shape, (tensor) => Uint8Array.from(stored[tensor] ?? []))
    },
  })
}

async function hidden(backend: OnnxBackend, tiny: TinyBackbone, variant: (typeof adapterVariants)[number]) {
  const metadata = variant && { seed: 4, ...variant }
  const adapter = metadata && backend.loadAdapter(randomAdapter(tiny.manifest, metadata))
  const slot = allocated(backend, tokens.length + 16)
  const rows = Float32Array.from(await backend.hidden({ slot, tokens, ...(adapter && { adapter }) }))
  slot.release()
  return rows
}

const largestDifference = (a: Float32Array, b: Float32Array) =>
  a.reduce((most, x, at) => Math.max(most, Math.abs(x - (b[at] ?? Number.NaN))), 0)

test.for([
  ['q8', 0],
  // An offset is added to a product in one rounding here, and in two there.
  ['q4', 1e-4],
] as const)(
  'prompts read by %s weights in f32 are those of the weights that it serves, stored in f32',
  async ([weights, most]) => {
    const [tiny, exact] = [await made({ weights }), await dequantised(weights)]
    const [floats, reference] = [await opened(tiny, { prefillWeights: 'f32' }), await opened(exact)]
    const stored = await opened(tiny)
    // The sink's rows come of the stored weights, with inputs in eight bits.
    const variants = adapterVariants.filter((variant) => variant?.anchor !== 'sink')
    expect(variants.length).toBeGreaterThan(5)
    for (const variant of variants) {
      const expected = await hidden(reference, exact, variant)
      expect(largestDifference(await hidden(floats, tiny, variant), expected)).toBeLessThanOrEqual(most)
      expect(largestDifference(await hidden(stored, tiny, variant), expected)).toBeGreaterThan(0.003)
    }
  },
)

test('4-bit weights around zero are read in f32 as they are served', async () => {
  // Their blocks lie on 16 steps, so that both forms keep them.
  const onSteps = (_: string, values: Float32Array) => values.map((x) => Math.round(x * 20) / 20)
  const options = { weights: 'q4', alter: onSteps } as const
  const [offsets, centred] = [await made(options), await made({ ...options, isSymmetric: () => true })]
  const [a, b] = [
    await opened(offsets, { prefillWeights: 'f32' }),
    await opened(centred, { prefillWeights: 'f32' }),
  ]
  const difference = largestDifference(
    await hidden(a, offsets, undefined),
    await hidden(b, centred, undefined),
  )
  expect(difference).toBeLessThan(1e-4)
})

test('a prompt gives the very logits however it is cut, and behind kept rows', async () => {
  const floats = await opened(await made({ weights: 'q8' }), { prefillWeights: 'f32' })
  const logitsOf = async (lengths: readonly number[]) => {
    const slot = allocated(floats, tokens.length)
    let logits = new Float32Array(0)
    let start = 0
    for (const length of lengths) {
      const piece = tokens.slice(start, start + length)
      logits = Float32Array.from(await floats.prefill({ slot, tokens: piece }))
      start += length
    }
    const kept = await floats.keepRows(slot, { start: 0, end: 96, tokens: tokens.length })
    slot.release()
    return { logits, kept }
  }
  const { logits, kept } = await logitsOf([162])
  for (const lengths of [
    [160, 2],
    [2, 160],
    [31, 31, 98, 2],
    [96, 66],
  ])
    expect((await logitsOf(lengths)).logits).toEqual(logits)
  const slot = allocated(floats, tokens.length)
  await floats.putRows(slot, [kept])
  expect(await floats.prefill({ slot, tokens: tokens.slice(96) })).toEqual(logits)
})

test('tokens are decoded by the stored weights, whoever has read the prompt', async () => {
  const tiny = await made({ weights: 'q8' })
  const [floats, stored] = [await opened(tiny, { prefillWeights: 'f32' }), await opened(tiny)]
  const read = allocated(floats, tokens.length + 2)
  await floats.prefill({ slot: read, tokens })
  const kept = await floats.keepRows(read, { start: 0, end: tokens.length, tokens: tokens.length })
  const put = allocated(stored, tokens.length + 2)
  await stored.putRows(put, [kept])
  for (const token of [7, 200])
    expect(Float32Array.from(await floats.decode([{ slot: read, token }]))).toEqual(
      await stored.decode([{ slot: put, token }]),
    )
})

test('with a cache in eight bits, logits are as near to the stored weights’ as those of an f32 cache', async () => {
  const tiny = await made({ weights: 'q8' })
  await prepareInt8Cache(tiny, tokens)
  const scores = async (options: NonNullable<Parameters<typeof openBackend>[1]>) =>
    scoreAll(await opened(tiny, options), { tokens })
  const expected = await scores({})
  const floats = await scores({ cacheType: 'int8', prefillWeights: 'f32' })
  const stored = await scores({ cacheType: 'int8' })
  const size = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0))
  const distance = (a: Float32Array) => size(a.map((x, at) => x - (expected[at] ?? Number.NaN)))
  expect(distance(floats)).toBeLessThan(1.5 * distance(stored))
  expect(distance(floats)).toBeGreaterThan(0)
})

test('weights in f32 are their own copy, and other devices have none', async () => {
  const tiny = await made({ weights: 'f32' })
  const [asked, usual] = [await opened(tiny, { prefillWeights: 'f32' }), await opened(tiny)]
  expect(await scoreAll(asked, { tokens })).toEqual(await scoreAll(usual, { tokens }))
  await expect(openBackend(tiny, { device: 'webgpu', prefillWeights: 'f32' })).rejects.toMatchObject({
    code: 'invalid_request',
    param: '--prefill-weights',
    message: expect.stringContaining('--device cpu'),
  })
})

test.for([
  ['q8', 1],
  ['q4', 2],
] as const)(
  'the copy of %s weights takes at most %i times its own memory while it is made',
  async ([weights, most]) => {
    const tiny = await made({ weights, config: { ...tinyConfig } })
    const serving = await readFile(join(tiny.folder, graphFiles.serving))
    const nodes = proto.onnx.ModelProto.decode(withFloatMatrices(serving)).graph?.node ?? []
    // The runtime keeps every value that it computes at loading until it has computed all of them.
    const values = nodes.flatMap(({ output }) =>
      (output ?? []).filter((name) => name.startsWith('layers.0.down.')),
    )
    expect(values.length).toBeGreaterThan(0)
    expect(values.length).toBeLessThanOrEqual(most)
  },
)

test('a folder of links to a backbone’s files is read in f32 as the backbone itself', async () => {
  const tiny = await made({ weights: 'q4' })
  const folder = join(dirname(tiny.folder), 'links')
  await mkdir(folder)
  for (const file of ['anchors.safetensors', graphFiles.serving, graphFiles.weights])
    await symlink(join(tiny.folder, file), join(folder, file))
  const linked = await opened({ ...tiny, folder }, { prefillWeights: 'f32' })
  const own = await opened(tiny, { prefillWeights: 'f32' })
  expect(await scoreAll(linked, { tokens })).toEqual(await scoreAll(own, { tokens }))
})

test.for([
  [graphFiles.serving, 'no such file'],
  [graphFiles.weights, 'no such file'],
] as const)('a backbone without %s is refused with the remedy', async ([file, reason]) => {
  const tiny = await made({ weights: 'q8' })
  await rm(join(tiny.folder, file))
  await expect(openBackend(tiny, { prefillWeights: 'f32' })).rejects.toMatchObject({
    code: 'backbone_invalid',
    message: expect.stringMatching(new RegExp(`${reason}.*pull it again`)),
  })
})
