import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
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

test.for(['', 'language_model.model.', 'model.language_model.'])(
  'tensors whose names begin with “%s” are a decoder’s too',
  async (prefix) => {
    const folder = join(root, `prefix-${prefix.length}`)
    const source = tinySource()
    await writeHuggingFace(folder, { source, rename: (name) => name.replace(/^model\./, prefix) })
    const opened = await openHuggingFace(folder)
    expect(await opened.tensors.read('layers.1.q')).toEqual(await source.read('layers.1.q'))
    await opened.close()
  },
)

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
  ['heads', { num_attention_heads: 5 }, /headDim/],
  ['kv heads', { num_key_value_heads: 3 }, /4 heads cannot be shared by 3/],
  ['giant', { vocab_size: 1e12 }, /vocab is 1000000000000; at most/],
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

const files = (folder: string) => (name: string, value: unknown) =>
  writeFile(join(root, folder, name), JSON.stringify(value))

test('a chat template is taken from whichever file has it', async () => {
  await writeHuggingFace(join(root, 'templates'))
  const write = files('templates')
  const template = async () => {
    const opened = await openHuggingFace(join(root, 'templates'))
    await opened.close()
    return opened.chat.template
  }
  const text = (name: string) => `${name}{{ messages[0].content }}`
  await write('tokenizer_config.json', { eos_token: '<|im_end|>' })
  expect(await template()).toBe('')
  await write('tokenizer_config.json', {
    eos_token: '<|im_end|>',
    chat_template: [
      { name: 'tool_use', template: text('tools') },
      { name: 'default', template: text('config') },
    ],
  })
  expect(await template()).toBe(text('config'))
  await write('chat_template.json', { chat_template: text('json') })
  expect(await template()).toBe(text('json'))
  await write('chat_template.json', { chat_template: [{ name: 'default', template: text('list') }] })
  expect(await template()).toBe(text('list'))
  await writeFile(join(root, 'templates', 'chat_template.jinja'), text('jinja'))
  expect(await template()).toBe(text('jinja'))
})

test('several chat templates without a default one are refused, with their names', async () => {
  await writeHuggingFace(join(root, 'no-default'))
  await files('no-default')('chat_template.json', {
    chat_template: ['rag', 'tool_use'].map((name) => ({ name, template: 'x' })),
  })
  expect(await refusal(join(root, 'no-default'))).toMatch(
    /chat_template.json: .*rag, tool_use and none named default/,
  )
})

test('a chat template of the folder of additional ones is taken where nothing else names one, and several without a default are refused', async () => {
  await writeHuggingFace(join(root, 'additional'))
  await files('additional')('tokenizer_config.json', { eos_token: '<|im_end|>' })
  const folder = join(root, 'additional', 'additional_chat_templates')
  await mkdir(folder)
  for (const name of ['rag', 'tool_use']) await writeFile(join(folder, `${name}.jinja`), name)
  expect(await refusal(join(root, 'additional'))).toMatch(
    /additional_chat_templates: .*rag, tool_use and none named default/,
  )
  await writeFile(join(folder, 'default.jinja'), '{{ messages[0].content }}')
  const opened = await openHuggingFace(join(root, 'additional'))
  expect(opened.chat.template).toBe('{{ messages[0].content }}')
  await opened.close()
})

test('tokens that begin and end a text are taken from special_tokens_map.json where nothing else names them', async () => {
  await writeHuggingFace(join(root, 'special'), { config: { eos_token_id: null } })
  const write = files('special')
  await write('tokenizer_config.json', {})
  await write('special_tokens_map.json', {
    bos_token: { content: '<|im_start|>', lstrip: false },
    eos_token: '<|endoftext|>',
  })
  const opened = await openHuggingFace(join(root, 'special'))
  expect(opened.tokens).toEqual({ bos: 301, eos: [300, 302] })
  await opened.close()
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
