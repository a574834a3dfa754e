import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { encodeGguf, ggufMetadata, importedConfig, tinySource, writeGguf } from '../../test/model-files.ts'
import { decoderTensors } from '../architectures/decoder-tensors.ts'
import { openGguf } from './gguf.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-gguf-'))
})
afterAll(() => rm(folder, { recursive: true }))

const at = (name: string) => join(folder, `${name}.gguf`)

async function refusal(path: string): Promise<string> {
  try {
    await (await openGguf(path)).close()
  } catch (error) {
    if (error instanceof Error) return error.message
  }
  throw new Error(`${path} was accepted`)
}

test.for([true, false])(
  'every tensor is what was written, q and k in rotate-half order (tied head %s)',
  async (tiedHead) => {
    const source = tinySource({ tiedHead })
    const path = at(`whole-${tiedHead}`)
    await writeGguf(path, { source })
    const model = await openGguf(path)
    expect(model.config).toEqual({ ...source.config, rmsEps: Math.fround(1e-5) })
    for (const name of decoderTensors(source.config).keys())
      expect(await model.read(name), name).toEqual(await source.read(name))
    await model.close()
  },
)

test('a sliding window is every layer’s, and one longer than the context is none', async () => {
  await writeGguf(at('window'), { metadata: { 'llama.attention.sliding_window': 256 } })
  const model = await openGguf(at('window'))
  expect(model.config).toMatchObject({ contextLength: 1024, attention: [{ window: 256 }, { window: 256 }] })
  await model.close()
  await writeGguf(at('wide'), { metadata: { 'llama.attention.sliding_window': 4096 } })
  const wide = await openGguf(at('wide'))
  expect(wide.config.attention).toBeUndefined()
  await wide.close()
})

const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer)
const ropeFreqs = (...values: number[]) => ({
  name: 'rope_freqs.weight',
  shape: [values.length],
  type: 0,
  data: floats(...values),
})

test('rope_freqs divide the frequencies, and those that are all 1 say nothing', async () => {
  await writeGguf(at('freqs'), { tensors: (all) => [...all, ropeFreqs(1, 1, 1, 1, 2, 4, 8, 8)] })
  const scaled = await openGguf(at('freqs'))
  expect(scaled.config.rotary).toEqual([{ theta: 10_000, factors: [1, 1, 1, 1, 2, 4, 8, 8] }])
  await scaled.close()
  await writeGguf(at('ones'), { tensors: (all) => [...all, ropeFreqs(1, 1, 1, 1, 1, 1, 1, 1)] })
  const plain = await openGguf(at('ones'))
  expect(plain.config.rotary).toEqual([{ theta: 10_000 }])
  await plain.close()
})

test('rope_freqs divide the frequencies that yarn has scaled, and a factor of 0 scales nothing', async () => {
  const yarn = {
    'llama.rope.scaling.type': 'yarn',
    'llama.rope.scaling.factor': 4,
    'llama.rope.scaling.original_context_length': 256,
  }
  const factorsOf = async (metadata: typeof yarn, ...freqs: readonly number[]) => {
    await writeGguf(at('yarn'), {
      metadata,
      tensors: (all) => (freqs.length === 0 ? all : [...all, ropeFreqs(...freqs)]),
    })
    const model = await openGguf(at('yarn'))
    await model.close()
    return model.config.rotary[0]?.factors ?? []
  }
  const plain = await factorsOf(yarn)
  expect(await factorsOf(yarn, 1, 1, 1, 1, 2, 4, 8, 8)).toEqual(
    plain.map((factor, pair) => factor * ([1, 1, 1, 1, 2, 4, 8, 8][pair] ?? 0)),
  )
  const none = await factorsOf({ ...yarn, 'llama.rope.scaling.factor': 0 })
  expect(none).toEqual(plain.map(() => 1))
})

test('a file that is split in parts is one model, whichever part is named', async () => {
  const source = tinySource()
  const part = (i: number) => join(folder, `split-0000${i}-of-00003.gguf`)
  await writeGguf(at('unsplit'), { source })
  for (const i of [1, 2, 3])
    await writeGguf(part(i), {
      source,
      metadata: { 'split.no': i - 1, 'split.count': 3 },
      tensors: (all) => all.filter((_, at) => at % 3 === i - 1),
    })
  for (const named of [1, 3]) {
    const model = await openGguf(part(named))
    for (const name of decoderTensors(source.config).keys())
      expect(await model.read(name), name).toEqual(await source.read(name))
    await model.close()
  }
  await rm(part(2))
  expect(await refusal(part(1))).toMatch(/split-00002-of-00003.gguf: this part of the model is missing/)
  await writeGguf(at('alone'), { metadata: { 'split.count': 3 } })
  expect(await refusal(at('alone'))).toMatch(/one of 3 parts/)
})

test.for([Number.NaN, Number.POSITIVE_INFINITY])(
  'weights of %s are refused, naming the tensor',
  async (value) => {
    await writeGguf(at('nan'), {
      tensors: (all) =>
        all.map((tensor) =>
          tensor.name === 'blk.1.ffn_up.weight'
            ? { ...tensor, data: Uint8Array.from([...tensor.data.subarray(0, -4), ...floats(value)]) }
            : tensor,
        ),
    })
    const model = await openGguf(at('nan'))
    await expect(model.read('layers.1.up')).rejects.toThrow(/blk.1.ffn_up.weight holds (NaN|Infinity)/)
    await model.close()
  },
)

const bias = { name: 'blk.0.attn_q.bias', shape: [64], type: 0, data: new Uint8Array(256) }

test.for<[string, Parameters<typeof writeGguf>[1], RegExp]>([
  [
    'another architecture',
    { metadata: { 'general.architecture': 'starcoder2' } },
    /architecture starcoder2 is not supported; supported are Llama, /,
  ],
  [
    'rope scaling',
    { metadata: { 'llama.rope.scaling.type': 'spiral' } },
    /llama.rope.scaling.type is “spiral”, which is not supported/,
  ],
  [
    'rope factors',
    { tensors: (all) => [...all, ropeFreqs(1, 1, 1)] },
    /rope_freqs.weight has 3 numbers instead of 8/,
  ],
  ['rope factors of 0', { tensors: (all) => [...all, ropeFreqs(1, 1, 1, 1, 1, 1, 0, 1)] }, /numbers above 0/],
  [
    'experts of another name',
    { metadata: { 'general.architecture': 'qwen3moe' } },
    /qwen3moe is not supported: it needs mixture of experts \(docs/,
  ],
  [
    'experts',
    { metadata: { 'llama.expert_count': 8 } },
    /llama.expert_count is 8: mixture of experts is not supported/,
  ],
  ['a bias of q alone', { tensors: (all) => [...all, bias] }, /tensor blk.0.attn_k.bias is missing/],
  [
    'partial rotation',
    { metadata: { 'llama.rope.dimension_count': 8 } },
    /rope.dimension_count is less than the head size 16/,
  ],
  ['uneven heads', { metadata: { 'llama.attention.head_count_kv': 3 } }, /4 heads cannot be shared by 3/],
  ['no layers', { metadata: { 'llama.block_count': 0 } }, /layers/],
  ['a missing tensor', { tensors: (all) => all.slice(0, -1) }, /tensor output_norm.weight is missing/],
  [
    'the same tensor twice',
    { tensors: (all) => [...all, ...all.slice(0, 1)] },
    /two tensors have the same name/,
  ],
  [
    'an unknown block type',
    { tensors: (all) => all.map((tensor) => ({ ...tensor, type: 16 })) },
    /type IQ2_XXS, which is not supported; use one of F32, F16/,
  ],
  [
    'a lying shape',
    { metadata: { 'llama.feed_forward_length': 128 } },
    /ffn_gate.weight has shape \[96,64\]; its metadata mean \[128,64\]/,
  ],
  [
    'a giant',
    { metadata: { 'llama.embedding_length': 1_000_000, 'llama.rope.dimension_count': 250_000 } },
    /llama.embedding_length is 1000000; it must be a whole number from 1 to 16384/,
  ],
  [
    'text for a number',
    { metadata: { 'llama.block_count': 'two' } },
    /llama.block_count is "two"; it must be one number/,
  ],
])('%s is refused by name', async ([name, options, message]) => {
  await writeGguf(at(name), options)
  expect(await refusal(at(name))).toMatch(message)
})

test('a truncated file is refused before anything is allocated for it', async () => {
  await writeGguf(at('truncated'))
  const { length } = await readFile(at('truncated'))
  await truncate(at('truncated'), length - 4096)
  expect(await refusal(at('truncated'))).toMatch(/truncated/)
})

test('a header that lies about its lengths is refused', async () => {
  const file = encodeGguf(ggufMetadata(importedConfig), [])
  const view = new DataView(file.buffer, file.byteOffset)
  for (const [name, offset] of [
    ['tensors', 8],
    ['keys', 16],
    ['key', 24],
  ] as const) {
    const before = view.getBigUint64(offset, true)
    view.setBigUint64(offset, 0xffff_ffff_ffffn, true)
    await writeFile(at(name), file)
    expect(await refusal(at(name))).toMatch(/not a readable GGUF file/)
    view.setBigUint64(offset, before, true)
  }
  await writeFile(at('noise'), 'GGUF, they said')
  expect(await refusal(at('noise'))).toMatch(/not a readable GGUF file/)
  await writeFile(at('other'), 'something else')
  expect(await refusal(at('other'))).toMatch(/not a readable GGUF file/)
})

test('a leading byte order mark of a string is kept, so that tokens with and without it differ', async () => {
  const tokens = ['\ufeffusing', 'using', '\ufeff', 'a\ufeff']
  const metadata = { 'tokenizer.test.tokens': tokens, 'general.name': '\ufeffname', '\ufeffkey': 'x' }
  await writeGguf(at('bom'), {
    metadata,
    tensors: (all) =>
      all.map((tensor, i) => (i === 0 ? { ...tensor, name: `\ufeff${tensor.name}` } : tensor)),
  })
  expect(await refusal(at('bom'))).toMatch(/tensor token_embd.weight is missing/)
  await writeGguf(at('bom'), { metadata })
  const model = await openGguf(at('bom'))
  expect(model.metadata).toMatchObject(metadata)
  await model.close()
})

test.for<[string, (bytes: Uint8Array) => void, RegExp]>([
  ['version', (bytes) => new DataView(bytes.buffer).setUint32(4, 9, true), /GGUF version 9 is not supported/],
  ['endian', (bytes) => new DataView(bytes.buffer).setUint32(4, 3, false), /big-endian/],
  [
    'tensors',
    (bytes) => new DataView(bytes.buffer).setBigUint64(8, 2n ** 60n, true),
    /announces \d+ tensors/,
  ],
  ['type', (bytes) => new DataView(bytes.buffer).setUint32(52, 77, true), /value of the unknown type 77/],
])('a header with a wrong %s is refused by name', async ([name, damage, message]) => {
  const bytes = new Uint8Array(encodeGguf({ 'general.architecture': 'llama' }, []))
  damage(bytes)
  await writeFile(at(`header-${name}`), bytes)
  expect(await refusal(at(`header-${name}`))).toMatch(message)
})
