import { readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import proto from 'onnx-proto'
import { expect, onTestFinished, test } from 'vitest'
import { affineRows, fromAffineRows } from '../../model/graph/affine-blocks.ts'
import { symmetricRows } from '../../model/graph/symmetric-blocks.ts'
import { loadAnchors } from '../../model/runtime/anchors.ts'
import { range } from '../../model/runtime/row-places.ts'
import { scoreAll } from './generation.ts'
import { referenceLogits } from './reference.ts'
import { openBackend, type TinyOptions, tinyBackbone } from './tiny-backbone.ts'

const tokens = range(0, 19).map((i) => (i * 47 + 3) % 256)

const oddWidths = { d: 72, heads: 3, kvHeads: 1, headDim: 24, ffn: 100, tiedHead: false }
/** Square error of the logits against those of the source's own weights in f32, as a share. */
async function lossOf(options: TinyOptions): Promise<number> {
  const tiny = await tinyBackbone({ config: oddWidths, ...options })
  const backend = await openBackend(tiny, { threads: 1 })
  try {
    const logits = await scoreAll(backend, { tokens })
    const reference = (await referenceLogits(tiny.source, { tokens })).flatMap((row) => [...row])
    const square = (values: readonly number[]) => values.reduce((sum, x) => sum + x * x, 0)
    return square([...logits].map((x, i) => x - (reference[i] ?? Number.NaN))) / square(reference)
  } finally {
    await backend.close()
    await rm(dirname(tiny.folder), { recursive: true })
  }
}

test.for([
  ['q8', 1e-3],
  ['q4', 0.05],
  ['f16', 1e-5],
] as const)('%s weights of widths that are no whole blocks', async ([weights, most]) => {
  expect(await lossOf({ weights })).toBeLessThan(most)
})

test.for([
  ['16 steps', affineRows, false],
  ['16 steps around zero', symmetricRows, true],
] as const)('q4 weights that lie on %s already are as near as q8', async ([, quantised, isSymmetric]) => {
  // Heads of 16 are not filled up.
  const config = { ...oddWidths, headDim: 16 }
  const columnsOf: Readonly<Record<string, number>> = { o: 48, down: config.ffn }
  const onSteps = (name: string, values: Float32Array) => {
    const kind = name.split('.').at(-1) ?? ''
    if (!['q', 'k', 'v', 'o', 'gate', 'up', 'down'].includes(kind)) return values
    const columns = columnsOf[kind] ?? config.d
    const rows = quantised(values, columns)
    const offsets = new Float32Array(rows.scales.length)
    return fromAffineRows({ rows: values.length / columns, columns }, { offsets, ...rows })
  }
  const options = { config, weights: 'q4', alter: onSteps, isSymmetric: () => isSymmetric } as const
  expect(await lossOf(options)).toBeLessThan(1e-3)
})

test('heads that are filled up move what lies around zero, so such weights get offsets', async () => {
  const tiny = await tinyBackbone({ config: oddWidths, weights: 'q4', isSymmetric: () => true })
  onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
  const { graph } = proto.onnx.ModelProto.decode(await readFile(join(tiny.folder, 'model.onnx')))
  expect(graph?.initializer?.map(({ name }) => name)).toContain('layers.0.o.offsets')
})

test('bf16 weights: products in bf16 in the graph that serves, on GPUs alone, and in f32 in the one that traces', async () => {
  const tiny = await tinyBackbone({ weights: 'bf16' })
  onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
  const nodes = async (name: string) => {
    const { graph } = proto.onnx.ModelProto.decode(await readFile(join(tiny.folder, name)))
    const types = new Map(graph?.initializer?.map(({ name, dataType }) => [name, dataType]))
    const byOutput = new Map(
      graph?.node?.flatMap((node) => (node.output ?? []).map((of) => [of, node] as const)),
    )
    const typeOf = (of: string | undefined) =>
      types.get(of) ?? byOutput.get(of ?? '')?.attribute?.find(({ name }) => name === 'to')?.i
    const products = (graph?.node ?? []).filter(({ opType }) => opType === 'Gemm')
    return products.map(({ input }) => (input ?? []).map(typeOf).map(Number))
  }
  const { BFLOAT16, FLOAT } = proto.onnx.TensorProto.DataType
  // Four matrices a layer, and the head; the trace ends before the last layer's.
  expect(await nodes('model.onnx')).toEqual(Array(13).fill([BFLOAT16, BFLOAT16]))
  const traced = await nodes('trace.onnx')
  expect(traced).toHaveLength(8)
  expect(traced.every(([, weights]) => weights === FLOAT)).toBe(true)
  // The import has run the trace on the CPU, for the anchors.
  const anchors = await loadAnchors(tiny.folder, tiny.manifest.config)
  const exact = await tinyBackbone()
  onTestFinished(() => rm(dirname(exact.folder), { recursive: true }))
  const expected = await loadAnchors(exact.folder, exact.manifest.config)
  const differences = [...anchors].map((x, i) => Math.abs(x - (expected[i] ?? Number.NaN)))
  expect(Math.max(...differences)).toBeLessThan(0.05)
  await expect(openBackend(tiny, { threads: 1 })).rejects.toThrow(
    'bf16 weights, which ONNX Runtime multiplies on GPUs alone',
  )
})
