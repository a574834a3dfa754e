import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { compileText } from '../../model/runtime/compile.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { range } from '../../model/runtime/row-places.ts'
import {
  AdapterMetadata,
  maxPromptRows,
  parseAdapterFile,
  serializeAdapterFile,
} from '../../shared/adapter-file.ts'
import { scoreAll } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

let tiny: TinyBackbone
let backend: OnnxBackend
beforeAll(async () => {
  tiny = await tinyBackbone()
  backend = await openBackend(tiny, { chunkTokens: 64 })
})
afterAll(async () => {
  await backend.close()
  await rm(dirname(tiny.folder), { recursive: true })
})

test('an adapter of another backbone is refused by name', async () => {
  const other = await tinyBackbone({ seed: 2 })
  await rm(dirname(other.folder), { recursive: true })
  const adapter = randomAdapter(other.manifest, { seed: 1, window: 32 })
  expect(() => backend.loadAdapter(adapter)).toThrow(
    expect.objectContaining({ code: 'backbone_mismatch', param: 'backbone_sha256' }),
  )
})

test('an adapter that claims this backbone but another size is refused by the size', () => {
  const { manifest } = tiny
  const wide = { ...manifest, config: { ...manifest.config, d: 96 } }
  expect(() => backend.loadAdapter(randomAdapter(wide, { seed: 1, window: 32 }))).toThrow(
    expect.objectContaining({ code: 'backbone_mismatch', param: 'd' }),
  )
})

test('a window that does not fit in a prefill chunk is refused', () => {
  for (const kind of [{}, { kind: 'idpg' }, { kind: 'lpt', at: 1 }, { kind: 'ipt' }]) {
    const adapter = randomAdapter(tiny.manifest, { seed: 1, window: 65, ...kind })
    expect(() => backend.loadAdapter(adapter)).toThrow(
      expect.objectContaining({ code: 'adapter_invalid', param: 'window' }),
    )
  }
})

test('a table of token ids of another vocabulary is refused by its size', () => {
  const adapter = randomAdapter(tiny.manifest, { seed: 1, kind: 'ipt', window: 32, vocab: 300 })
  expect(() => backend.loadAdapter(adapter)).toThrow(
    expect.objectContaining({ code: 'backbone_mismatch', param: 'vocab' }),
  )
})

test('a resident adapter takes the size of its file', () => {
  for (const metadata of [
    { kind: 'iapt', anchor: 'sink', window: 32 },
    { kind: 'static', anchor: 'own' },
    { kind: 'static', precision: 'f32' },
    { kind: 'idpg', anchor: 'sink', window: 32 },
    { kind: 'idpg', anchor: 'own', generator: 'shared', window: 32 },
    { kind: 'lpt', anchor: 'own', at: 1, window: 32 },
    { kind: 'ipt', anchor: 'none', window: 32 },
  ]) {
    const adapter = randomAdapter(tiny.manifest, { seed: 1, ...metadata })
    const tensors = [...adapter.tensors.values()].reduce((sum, { data }) => sum + data.length, 0)
    expect(backend.loadAdapter(adapter).bytes - tensors).toBeLessThan(128)
  }
})

test.for([
  ['q8', 'stored'],
  ['q8', 'f32'],
  ['f32', 'stored'],
] as const)(
  'a compiled text survives its file and is the text itself, bit for bit, with %s weights, %s for prompts',
  async ([weights, prefillWeights]) => {
    const exact = await tinyBackbone({ weights })
    const host = await openBackend(exact, { chunkTokens: 64, prefillWeights })
    try {
      const [text, prompt] = [range(0, 40).map((i) => (i * 91) % 256), [7, 8, 9]]
      const file = parseAdapterFile(
        serializeAdapterFile(await compileText({ ...exact, tokens: text, prefillWeights })),
      )
      const adapter = host.loadAdapter(file)
      expect(adapter.rows).toBe(text.length)
      expect(await scoreAll(host, { tokens: prompt, adapter })).toEqual(
        (await scoreAll(host, { tokens: [...text, ...prompt] })).slice(-prompt.length * host.limits.vocab),
      )
    } finally {
      await host.close()
      await rm(dirname(exact.folder), { recursive: true })
    }
  },
)

test('behind a token that starts every prompt, a compiled text is the text at that place', async () => {
  const [begin, text, prompt] = [1, [50, 60, 70, 80], [7, 8, 9]]
  const adapter = backend.loadAdapter(await compileText({ ...tiny, tokens: text, begin }))
  const last = (logits: Float32Array) => logits.slice(-backend.limits.vocab)
  expect(last(await scoreAll(backend, { tokens: [begin, ...prompt], adapter }))).toEqual(
    last(await scoreAll(backend, { tokens: [begin, ...text, ...prompt] })),
  )
})

test('rows in f32 add to the backbone’s anchors as rows in half precision do', async () => {
  const rows = { seed: 3, kind: 'static', anchor: 'sink' } as const
  const half = randomAdapter(tiny.manifest, rows)
  const widened = new Map(
    [...half.tensors].map(([name, { shape, data }]) => {
      const values = Float32Array.from(new Float16Array(new Uint8Array(data).buffer))
      return [name, { dtype: 'F32', shape, data: new Uint8Array(values.buffer) }] as const
    }),
  )
  const exact = parseAdapterFile(
    serializeAdapterFile({
      ...half,
      metadata: AdapterMetadata.parse({ ...stringsOf(half.metadata), precision: 'f32' }),
      tensors: widened,
    }),
  )
  const tokens = [7, 8, 9]
  expect(await scoreAll(backend, { tokens, adapter: backend.loadAdapter(exact) })).toEqual(
    await scoreAll(backend, { tokens, adapter: backend.loadAdapter(half) }),
  )
})

const stringsOf = (metadata: AdapterMetadata) =>
  Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, String(value)]))

test('a text of no tokens or too many cannot be compiled', async () => {
  for (const length of [0, maxPromptRows + 1])
    await expect(compileText({ ...tiny, tokens: range(0, length).map(() => 1) })).rejects.toMatchObject({
      code: 'invalid_request',
    })
})

test('a closed backend says that the node is shutting down', async () => {
  const closing = await openBackend(tiny)
  await closing.close()
  await closing.close()
  const slot = closing.allocate(10)
  if (slot === undefined) throw new Error('no room')
  await expect(closing.prefill({ slot, tokens: [1] })).rejects.toMatchObject({ code: 'node_unavailable' })
})
