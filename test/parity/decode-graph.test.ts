import { readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import proto from 'onnx-proto'
import { expect, test, vi } from 'vitest'
import { decodeOnly } from '../../model/graph/decode-only.ts'
import { graphFiles } from '../../model/graph/export.ts'
import { withPagedCache } from '../../model/graph/paged-cache.ts'
import type { CacheSlot } from '../../model/runtime/backend.ts'
import { DecodeGraph } from '../../model/runtime/decode-graph.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { DeviceMemory, DeviceTensor, type RunTensors } from '../../model/runtime/ort/device-memory.ts'
import { range } from '../../model/runtime/row-places.ts'
import { InferenceSession } from '../../model/runtime/session.ts'
import { SharedWeights } from '../../model/runtime/shared-weights.ts'
import { float32, floats, int32, int64 } from '../../model/runtime/tensors.ts'
import type { ModelConfig, WeightFormat } from '../../shared/backbone.ts'
import { adapterVariants } from './generation.ts'
import { largestDifference } from './last-logits.ts'
import { preparePagesOnCpu } from './paged-on-cpu.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

interface Shape {
  readonly name: string
  readonly config: Partial<ModelConfig>
  readonly weights: WeightFormat
}

/** Shapes whose decoding parts differ: norms, heads, weights and what scales them. */
const shapes: readonly Shape[] = [
  { name: 'in f32', config: {}, weights: 'f32' },
  {
    name: 'with normed heads, biases and an output head',
    config: { tiedHead: false, qkNorms: 'each-head', biases: ['qkv'] },
    weights: 'q8',
  },
  {
    name: 'with norms behind its blocks and capped logits',
    config: { norms: 'after', logitCap: 30 },
    weights: 'q4',
  },
]

/** Operators of a graph that run on the host in CUDA's provider, or steer what runs. */
const hostOperators = ['If', 'Loop', 'Scan', 'Shape', 'Size', 'Range', 'NonZero', 'ConstantOfShape', 'Concat']

test.for(shapes)(
  'the graph that decodes a model $name has the serving graph’s logits, and nothing for the host to do',
  async ({ config, weights }, { onTestFinished }) => {
    const tiny = await openTiny({ config, weights })
    onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
    const serving = await readFile(join(tiny.folder, graphFiles.serving))
    const { graph } = proto.onnx.ModelProto.decode(withPagedCache(decodeOnly(serving), tiny.manifest.config))
    const operators = new Set(graph?.node?.map(({ opType }) => opType ?? ''))
    expect(hostOperators.filter((name) => operators.has(name))).toEqual([])
    const inputs = (graph?.input ?? []).map(({ name }) => name ?? '')
    expect(inputs.filter((name) => !name.startsWith('past_key') && !name.startsWith('past_value'))).toEqual([
      'tokens',
      'row_starts',
      'past_rows',
      'block_table',
      'row_bounds',
    ])
    const [plain, own] = [await openPages(tiny, false), await openPages(tiny, true)]
    const [expected, found] = [await decodedLogits(plain, tiny), await decodedLogits(own, tiny)]
    await plain.close()
    await own.close()
    for (const [step, logits] of expected.entries())
      expect(largestDifference(logits, found[step] ?? new Float32Array()), `step ${step}`).toBe(0)
  },
)

test('over 100 steps of batches that grow and shrink, each class of sizes keeps its tensors', async ({
  onTestFinished,
}) => {
  const tiny = await openTiny({ config: { layers: 1, d: 16, heads: 1, kvHeads: 1, ffn: 16, vocab: 32 } })
  onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
  const backend = await openPages(tiny, true, 3584)
  const captured = new Map<number, RunTensors[]>()
  const runInto = InferenceSession.prototype.runInto
  const spy = vi.spyOn(InferenceSession.prototype, 'runInto')
  onTestFinished(() => spy.mockRestore())
  spy.mockImplementation(function (this: InferenceSession, feeds, outputs, options = {}) {
    const { beside = [], capture } = options
    const parts = [...beside, { feeds, outputs }]
    const tensors: RunTensors = Object.assign({}, ...parts.flatMap((part) => [part.feeds, part.outputs]))
    if (capture !== undefined) captured.set(capture, [...(captured.get(capture) ?? []), tensors])
    return runInto.call(this, feeds, outputs, options)
  })
  const slots = range(0, 7).map((at) => slotOf(backend, 300 + at))
  for (const slot of slots) await backend.prefill({ slot, tokens: range(0, 180).map((n) => n % 32) })
  for (let step = 0; step < 100; step++) {
    const batch = slots.slice(step % 3, 1 + ((step * 5) % 7))
    if (batch.length > 0) await backend.decode(batch.map((slot) => ({ slot, token: step % 32 })))
  }
  await backend.close()
  const runs = [...captured.values()].map((run) => run.length)
  // Batches of 1, 2, 4 and 8, with one page and, behind 256 rows, with two.
  expect(captured.size).toBeGreaterThanOrEqual(4)
  expect(captured.size).toBeLessThanOrEqual(8)
  expect(runs.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(80)
  for (const [number, [first = {}, ...others]] of captured)
    for (const other of others)
      for (const [name, tensor] of Object.entries(other)) {
        expect(tensor === first[name], `run ${number}, ${name}`).toBe(true)
        expect(tensor instanceof DeviceTensor).toBe(name !== 'row_bounds')
      }
})

test('sessions compute with the weights that they share, and not with copies from the file', async ({
  onTestFinished,
}) => {
  const tiny = await tinyBackbone({ config: { layers: 1, vocab: 512, ffn: 256 } })
  onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
  const { folder, manifest } = tiny
  await writeFile(join(folder, 'decode.onnx'), decodeOnly(await readFile(join(folder, graphFiles.serving))))
  const logitsWith = async (initializers: SharedWeights['tensors']) => {
    const session = await InferenceSession.open(
      { folder, graph: 'decode.onnx' },
      { device: 'cpu', initializers, threads: 1 },
    )
    const { headDim, kvHeads } = manifest.config
    const past = float32(new Float32Array(kvHeads * 4 * headDim), [1, kvHeads, 4, headDim])
    const { logits } = await session.run(
      {
        tokens: int64([300], [1, 1]),
        last_row: int32([0]),
        total_rows: int32([1]),
        'past_key.0': past,
        'past_value.0': past,
      },
      ['logits'],
    )
    await session.release()
    return floats(logits)
  }
  const expected = await logitsWith({})
  const weights = await SharedWeights.open(folder, { device: 'cpu', graph: 'decode.onnx' })
  expect(Object.keys(weights.tensors)).toEqual([
    'embedding.weights',
    'layers.0.gate_up.weights',
    'layers.0.down.weights',
  ])
  const file = join(folder, graphFiles.weights)
  const kept = await readFile(file)
  // The embedding stands first; whoever reads it from the file now sees zeros.
  await writeFile(file, Buffer.concat([Buffer.alloc(512 * 64 * 4), kept.subarray(512 * 64 * 4)]))
  expect(await logitsWith(weights.tensors)).toEqual(expected)
  expect((await logitsWith({})).every((logit) => logit === 0)).toBe(true)
  await weights.release()
})

test('where a run of the graph that decodes fails, the serving graph decodes from then on', async ({
  onTestFinished,
}) => {
  const tiny = await openTiny({ config: { layers: 1, d: 16, heads: 1, kvHeads: 1, ffn: 16, vocab: 32 } })
  onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
  const spy = vi.spyOn(DecodeGraph.prototype, 'run').mockRejectedValueOnce(new Error('no capture'))
  onTestFinished(() => spy.mockRestore())
  const logits = []
  for (const decodeGraph of [true, false]) {
    const backend = await openPages(tiny, decodeGraph)
    const slot = slotOf(backend, 20)
    await backend.prefill({ slot, tokens: [1, 2, 3] })
    const decode = () => backend.decode([{ slot, token: 4 }])
    if (decodeGraph)
      await expect(decode()).rejects.toMatchObject({
        code: 'node_error',
        message: expect.stringMatching(/captured run failed.*--cuda-graphs off/),
        cause: new Error('no capture'),
      })
    logits.push([...(await decode())])
    expect(slot.length).toBe(4)
    await backend.close()
  }
  expect(spy).toHaveBeenCalledTimes(1)
  expect(logits[0]).toEqual(logits[1])
})

test('what does not fit a device or is cut short is named before a node serves, with the remedy', async ({
  onTestFinished,
}) => {
  const tiny = await openTiny({ config: { layers: 1, d: 16, heads: 1, kvHeads: 1, ffn: 16, vocab: 2048 } })
  onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
  const { allocate } = DeviceMemory.prototype
  const spy = vi.spyOn(DeviceMemory.prototype, 'allocate')
  onTestFinished(() => spy.mockRestore())
  const full = (isFull: (dims: readonly number[]) => boolean) =>
    spy.mockImplementation(function (this: DeviceMemory, shape) {
      if (isFull(shape.dims)) throw new Error('Failed to allocate memory')
      return allocate.call(this, shape)
    })
  const opened = () => openPages(tiny, true)
  full(([first]) => first === 2048)
  await expect(opened()).rejects.toMatchObject({
    code: 'node_unavailable',
    message: expect.stringMatching(
      /cannot load .*weights.*on cpu: Failed to allocate memory; there is too little memory.*--weights/,
    ),
  })
  full(([, second]) => second === 2048)
  await expect(opened()).rejects.toMatchObject({
    code: 'node_unavailable',
    message: expect.stringMatching(/logits of 12 decoded tokens.*1 MiB.*--max-batch.*--cache-bytes/),
  })
  spy.mockRestore()
  const file = join(tiny.folder, graphFiles.weights)
  await writeFile(file, (await readFile(file)).subarray(0, 70_000))
  await expect(opened()).rejects.toMatchObject({
    code: 'backbone_invalid',
    message: expect.stringMatching(/ends at byte 70000.*pull it again/),
  })
})

async function openTiny({ config, weights }: Partial<Shape>): Promise<TinyBackbone> {
  const tiny = await tinyBackbone({ ...(config && { config }), ...(weights && { weights }) })
  await preparePagesOnCpu(tiny)
  return tiny
}

const openPages = (tiny: TinyBackbone, decodeGraph: boolean, cacheRows = 1792): Promise<OnnxBackend> =>
  openBackend(tiny, {
    cacheLayout: 'pages',
    cacheType: 'f16',
    cacheRows,
    contextLength: 600,
    decodeGraph,
    maxBatch: 12,
    threads: 1,
  })

function slotOf(backend: OnnxBackend, rows: number): CacheSlot {
  const slot = backend.allocate(rows)
  if (slot === undefined) throw new Error('no room')
  return slot
}

/** Logits of decoded batches of every size, of sequences with every third kind of adapter. */
async function decodedLogits(backend: OnnxBackend, { manifest }: TinyBackbone): Promise<Float32Array[]> {
  const slots: CacheSlot[] = []
  for (const [seed, metadata] of adapterVariants.entries()) {
    if (seed % 3 !== 0) continue
    const adapter = metadata && backend.loadAdapter(randomAdapter(manifest, { seed, ...metadata }))
    const slot = slotOf(backend, seed === 0 ? 290 : 90)
    await backend.prefill({ slot, tokens: range(0, 20 + seed), ...(adapter && { adapter }) })
    slots.push(slot)
  }
  // One that fills a page and goes on in the next.
  const [long] = slots
  if (long !== undefined) await backend.prefill({ slot: long, tokens: range(0, 232) })
  const found: Float32Array[] = []
  for (let step = 0; step < 9; step++) {
    const batch = slots.slice(0, 1 + ((step * 3) % slots.length))
    const rows = batch.map((slot, at) => ({ slot, token: (step * 17 + at) % 256 }))
    found.push(Float32Array.from(await backend.decode(rows)))
  }
  return found
}
