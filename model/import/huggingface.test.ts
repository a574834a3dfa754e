import { cp, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { tinySource, writeGguf, writeHuggingFace } from '../../test/model-files.ts'
import { decoderTensors } from '../architectures/decoder-tensors.ts'
import type { TensorSource } from '../architectures/tensor-source.ts'
import { openHuggingFace } from './huggingface.ts'
import { importBackbone } from './import.ts'
import { openSource } from './source.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'quartet-hf-'))
})
afterAll(() => rm(root, { recursive: true }))

async function refusal(folder: string): Promise<string> {
  try {
    await (await openHuggingFace(folder)).close()
  } catch (error) {
    if (error instanceof Error) return error.message
  }
  throw new Error(`${folder} was accepted`)
}

test('a folder and a GGUF of the same model are the same source', async () => {
  const source = tinySource({ tiedHead: false })
  await writeHuggingFace(join(root, 'same'), { source, shards: 3 })
  await writeGguf(join(root, 'same.gguf'), { source })
  const folder = await openSource(join(root, 'same'))
  const file = await openSource(join(root, 'same.gguf'))
  expect(folder.tokens).toEqual(file.tokens)
  expect(folder.chat).toEqual(file.chat)
  for (const name of decoderTensors(source.config).keys())
    expect(await folder.tensors.read(name), name).toEqual(await file.tensors.read(name))
  await folder.close()
  await file.close()
})

test.for([
  ['F16', 2 ** -11],
  ['BF16', 2 ** -7],
] as const)('%s weights are read to their precision', async ([dtype, precision]) => {
  const source = tinySource()
  await writeHuggingFace(join(root, dtype), { source, dtype })
  const opened = await openHuggingFace(join(root, dtype))
  const exact = await source.read('layers.1.down')
  const read = await opened.tensors.read('layers.1.down')
  for (const [i, value] of exact.entries())
    expect(Math.abs((read[i] ?? Number.NaN) - value)).toBeLessThanOrEqual(precision * Math.abs(value) + 1e-7)
  await opened.close()
})

test('a model of the Mistral shape has its window in every layer', async () => {
  await writeHuggingFace(join(root, 'mistral'), {
    config: { model_type: 'mistral', architectures: ['MistralForCausalLM'], sliding_window: 512 },
  })
  const opened = await openHuggingFace(join(root, 'mistral'))
  expect(opened.tensors.config).toMatchObject({
    contextLength: 1024,
    attention: [
      { rotary: 0, window: 512 },
      { rotary: 0, window: 512 },
    ],
  })
  await opened.close()
})

test('a config that says tied is believed only when the stored head is the embedding', async () => {
  const folder = join(root, 'head')
  const untied = tinySource({ tiedHead: false })
  await writeHuggingFace(folder, { source: untied, config: { tie_word_embeddings: true } })
  const other = await openHuggingFace(folder)
  expect(other.tensors.config.tiedHead).toBe(false)
  expect(await other.tensors.read('head')).toEqual(await untied.read('head'))
  await other.close()
  const same: TensorSource = {
    config: untied.config,
    read: (name) => untied.read(name === 'head' ? 'embedding' : name),
  }
  await writeHuggingFace(folder, { source: same, config: { tie_word_embeddings: true } })
  const repeated = await openHuggingFace(folder)
  expect(repeated.tensors.config.tiedHead).toBe(true)
  await repeated.close()
})

test('a config that says untied, or nothing, and a checkpoint without a head are refused with what helps', async () => {
  const folder = join(root, 'no-head')
  await writeHuggingFace(folder, { config: { tie_word_embeddings: false } })
  expect(await refusal(folder)).toMatch(/lm_head.weight is missing, .*set tie_word_embeddings to true/)
  await writeHuggingFace(folder, { config: { tie_word_embeddings: null } })
  expect(await refusal(folder)).toMatch(/lm_head.weight is missing/)
})

/** The same checkpoint with other names of tensors. */
async function renamed(from: string, { to, rename }: { to: string; rename: (name: string) => string }) {
  await cp(from, to, { recursive: true })
  const path = join(to, 'model.safetensors')
  const file = await readFile(path)
  const length = Number(file.readBigUInt64LE(0))
  const header: Record<string, unknown> = JSON.parse(file.toString('utf8', 8, 8 + length))
  const entries = Object.entries(header).map(([name, entry]) => [
    name === '__metadata__' ? name : rename(name),
    entry,
  ])
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(json.length))
  await writeFile(path, Buffer.concat([size, json, file.subarray(8 + length)]))
}

const architectureFixtures = join(import.meta.dirname, '../../test/fixtures/backbones')
const fronts = ['', '_orig_mod.model.', 'module.model.', 'language_model.model.'] as const
/** One checkpoint of each architecture, with what stands in front of its tensors' names here. */
const inFront = [
  'llama-bias',
  'mistral-window',
  'qwen2',
  'qwen3',
  'smollm3',
  'phi3',
  'granite',
  'olmo2',
  'gemma2',
  'gemma3',
].map((name, at) => [name, fronts[at % fronts.length] ?? ''] as const)

test.for(inFront)('tensors of %s are found behind “%s” in place of “model.”', async ([name, front]) => {
  const to = join(root, `front-${name}`)
  const outer = front.replace(/model\.$/, '')
  await renamed(join(architectureFixtures, name), {
    to,
    rename: (stored) =>
      stored.startsWith('model.') ? front + stored.slice('model.'.length) : outer + stored,
  })
  const [usual, opened] = [await openHuggingFace(join(architectureFixtures, name)), await openHuggingFace(to)]
  expect(opened.tensors.config).toEqual(usual.tensors.config)
  for (const tensor of [...decoderTensors(usual.tensors.config).keys()].filter((_, at) => at % 4 === 0)) {
    const [own, other] = [await usual.tensors.read(tensor), await opened.tensors.read(tensor)]
    expect(Buffer.from(own.buffer).equals(Buffer.from(other.buffer)), tensor).toBe(true)
  }
  await Promise.all([opened.close(), usual.close()])
})

test.for([Number.NaN, Number.NEGATIVE_INFINITY])(
  'weights of %s are refused, naming the tensor, and nothing is left behind',
  async (value) => {
    const folder = join(root, `not-finite-${value}`)
    const source = tinySource()
    const broken: TensorSource = {
      config: source.config,
      read: async (name) => {
        const values = await source.read(name)
        return name === 'layers.1.down' ? values.with(17, value) : values
      },
    }
    await writeHuggingFace(folder, { source: broken, dtype: 'BF16' })
    const destination = join(root, `imported-${value}`)
    await expect(
      importBackbone({ path: folder, slug: 'broken', weights: 'q8', destination }),
    ).rejects.toThrow(`model.layers.1.mlp.down_proj.weight holds ${value} at place 17`)
    await expect(readdir(destination)).rejects.toThrow(/ENOENT/)
  },
)

test.for([
  [
    'f16',
    70_000,
    /tensor layers.1.down holds 70000, and weights in f16 end at 65504: convert with --weights f32/,
  ],
  ['bf16', 3.4e38, /tensor layers.1.down holds 3\.\d+e\+38, and weights in bf16 end at 3.3895e\+38/],
  ['q8', -3e38, /tensor layers.1.down holds -3\d*\.?\d*e\+38, and weights in q8 end at 1.7014e\+38/],
  ['q4', 3e38, /tensor layers.1.down holds 3\d*\.?\d*e\+38, and weights in q4 end at/],
  ['f32', 3e38, /the model gives no numbers: the hidden state of token \d+ that enters layer/],
] as const)(
  'finite weights that are too large for %s are refused, and nothing is left behind',
  async ([weights, value, says]) => {
    const source = tinySource()
    const absurd: TensorSource = {
      config: source.config,
      read: async (name) => {
        const values = await source.read(name)
        return name === `layers.${weights === 'f32' ? 0 : 1}.down` ? values.map(() => value) : values
      },
    }
    const folder = join(root, `absurd-${weights}`)
    await writeHuggingFace(folder, { source: absurd })
    const destination = join(root, `absurd-${weights}-imported`)
    await expect(importBackbone({ path: folder, slug: 'absurd', weights, destination })).rejects.toThrow(says)
    expect((await readdir(root)).filter((name) => name.includes('imported'))).toEqual([])
  },
)

test.for<[string, Record<string, unknown>, RegExp]>([
  ['mixtral', { model_type: 'mixtral' }, /model_type mixtral is not supported: it needs mixture of experts/],
  ['gpt-oss', { model_type: 'gpt_oss' }, /gpt_oss is not supported: it needs .*attention sinks/],
  ['gemma', { model_type: 'gemma' }, /model_type gemma is not supported/],
  [
    'rope',
    { rope_scaling: { rope_type: 'spiral', factor: 8 } },
    /rope_type is “spiral”, which is not supported/,
  ],
  ['rope, newer', { rope_parameters: { rope_type: 'llama3', factor: 8 } }, /low_freq_factor is missing/],
  ['factor', { rope_scaling: { type: 'linear', factor: 0 } }, /factor is 0; it must be above 0/],
  [
    'long factors',
    { rope_scaling: { type: 'longrope', short_factor: [1] } },
    /short_factor has 1 numbers; 8 pairs/,
  ],
  ['attention bias', { attention_bias: true }, /q_proj.bias is missing/],
  ['activation', { hidden_act: 'relu2' }, /hidden_act is “relu2”: this activation is not supported/],
  ['quantised', { quantization_config: { quant_method: 'gptq' } }, /a quantised checkpoint is not supported/],
  ['heads', { num_attention_heads: 5 }, /num_attention_heads is 5/],
  ['kv heads', { num_key_value_heads: 3 }, /4 heads cannot be shared by 3/],
  ['giant', { vocab_size: 1e12 }, /vocab_size is 1000000000000; it must be a whole number from 1 to/],
  [
    'shape',
    { intermediate_size: 128 },
    /gate_proj.weight has shape \[96,64\]; the settings of config.json mean \[128,64\]/,
  ],
  ['vocabulary', { vocab_size: 100 }, /token id 302 is beyond the embedding's 100 rows/],
])('%s is refused by name', async ([name, config, message]) => {
  await writeHuggingFace(join(root, name), { config })
  expect(await refusal(join(root, name))).toMatch(message)
})

test.for(['../../etc/secret.safetensors', '/etc/secret.safetensors', 'a/b.safetensors', 'model.bin'])(
  'a shard index that names %s is refused',
  async (name) => {
    const folder = join(root, `index-${name.length}`)
    await writeHuggingFace(folder, { shards: 2 })
    await writeFile(
      join(folder, 'model.safetensors.index.json'),
      JSON.stringify({ weight_map: { 'model.norm.weight': name } }),
    )
    expect(await refusal(folder)).toMatch(/is not the name of a safetensors file beside it/)
  },
)

test('an index that names shards which are not there says which', async () => {
  const folder = join(root, 'missing-shard')
  await writeHuggingFace(folder, { shards: 2 })
  await rm(join(folder, 'model-00002-of-00002.safetensors'))
  expect(await refusal(folder)).toMatch(
    /names model-00002-of-00002.safetensors, which the folder does not have/,
  )
})

test('a truncated shard is refused by its name', async () => {
  const folder = join(root, 'short-shard')
  await writeHuggingFace(folder, { shards: 2 })
  const shard = join(folder, 'model-00002-of-00002.safetensors')
  await truncate(shard, (await stat(shard)).size - 100)
  expect(await refusal(folder)).toMatch(/model-00002-of-00002.safetensors: /)
})

test('pickled weights are not read', async () => {
  const folder = join(root, 'pickle')
  await writeHuggingFace(folder)
  await rm(join(folder, 'model.safetensors'))
  await writeFile(join(folder, 'pytorch_model.bin'), '')
  expect(await refusal(folder)).toMatch(/pytorch_model.bin is a pickle file/)
})

test('a safetensors header that lies about its length is refused', async () => {
  const folder = join(root, 'header')
  await writeHuggingFace(folder)
  await writeFile(join(folder, 'model.safetensors'), new Uint8Array(64).fill(0xff))
  expect(await refusal(folder)).toMatch(/model.safetensors: .*header claims/)
})

test('the text part of a model that reads pictures too is taken, and only where it is known', async () => {
  const fixture = join(import.meta.dirname, '../../test/fixtures/backbones/gemma3')
  const folder = join(root, 'pictures')
  await cp(fixture, folder, { recursive: true })
  const path = join(folder, 'config.json')
  const { architectures: _, ...text } = JSON.parse(await readFile(path, 'utf8'))
  const nested = (part: unknown, type = 'gemma3') =>
    writeFile(
      path,
      JSON.stringify({ model_type: type, text_config: part, vision_config: { hidden_size: 8 } }),
    )
  await nested(text)
  const [opened, plain] = [await openHuggingFace(folder), await openHuggingFace(fixture)]
  expect(opened.tensors.config).toEqual(plain.tensors.config)
  await Promise.all([opened.close(), plain.close()])

  await nested({ ...text, model_type: 'mamba' })
  expect(await refusal(folder)).toMatch(/config.json: text_config.model_type mamba is not supported/)
  await nested('x')
  expect(await refusal(folder)).toMatch(/config.json: text_config, .* must be an object/)
  await nested(text, 'llava')
  expect(await refusal(folder)).toMatch(/model_type llava is not supported.*reads more than text/)
})
