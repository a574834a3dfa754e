import { mkdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type BadModel, importRefusal, type Make } from '../../test/import-refusal.ts'
import { writeHuggingFace } from '../../test/model-files.ts'

const hf =
  (options: Parameters<typeof writeHuggingFace>[1], then?: (folder: string) => Promise<unknown>): Make =>
  async (folder) => {
    await writeHuggingFace(folder, options)
    await then?.(folder)
    return undefined
  }
const config = (settings: Record<string, unknown>): Make => hf({ config: settings })
const shard = 'model-00002-of-00002.safetensors'
const cutShard = (bytes: (size: number) => number): Make =>
  hf({ shards: 2 }, async (folder) => {
    const path = join(folder, shard)
    await truncate(path, bytes((await stat(path)).size))
  })
const index = (change: (map: Record<string, string>) => unknown): Make =>
  hf({ shards: 2 }, async (folder) => {
    const path = join(folder, 'model.safetensors.index.json')
    const { weight_map: map } = JSON.parse(await readFile(path, 'utf8'))
    await writeFile(path, JSON.stringify(change(map)))
  })
const template = (text: string): Make =>
  hf({}, (folder) => writeFile(join(folder, 'chat_template.jinja'), text))
const asFolder = (name: string): Make =>
  hf({ shards: 2 }, async (folder) => {
    await rm(join(folder, name))
    await mkdir(join(folder, name))
  })

const mapped = (map: Record<string, string>) => ({ weight_map: map })
const rope = (scaling: Record<string, unknown>) => config({ rope_scaling: scaling })
const eight = [1, 1, 1, 1, 1, 1, 1, 1]
const llama3 = { rope_type: 'llama3', factor: 8, original_max_position_embeddings: 64 }

const cases: readonly BadModel[] = [
  [
    'a shard cut by a byte',
    cutShard((size) => size - 1),
    /\/model\/model-00002.*end at byte.*download it again/,
  ],
  ['a shard cut within its header', cutShard(() => 50), /model-00002.*header claims.*download it again/],
  ['an empty shard', cutShard(() => 0), /model-00002.*eight-byte header.*download it again/],
  [
    'a shard that is longer than its tensors',
    cutShard((size) => size + 64),
    /model-00002.*download it again/,
  ],
  ['a folder in place of a shard', asFolder(shard), /model-00002.*it is a folder where a file of weights/],
  ['a folder in place of the config', asFolder('config.json'), /config.json: it is a folder where a file/],
  [
    'an index that names a shard which is not there',
    index((map) => mapped({ ...map, 'model.norm.weight': 'model-00009-of-00009.safetensors' })),
    /index.json: it names model-00009-of-00009.safetensors, which the folder does not have; download/,
  ],
  [
    'an index that leaves a shard out',
    index((map) => mapped(Object.fromEntries(Object.entries(map).filter(([, file]) => file !== shard)))),
    /tensor model.layers.0.input_layernorm.weight is missing, which the settings of config.json demand; take/,
  ],
  ['an empty index', index(() => mapped({})), /index.json: its weight_map is empty; download it again/],
  ['an index of no files', index(() => [1]), /index.json: it has no weight_map from .*; download it again/],
  [
    'tensors of another shape',
    config({ intermediate_size: 128 }),
    /model.safetensors: tensor .*gate_proj.weight has shape \[96,64\]; the settings of config.json mean \[128,64\]; take config.json and all weights from one download/,
  ],
  ['a layer too many', config({ num_hidden_layers: 1 }), /tensor model.layers.1.* is not part of .*; take/],
  ['a layer too few', config({ num_hidden_layers: 3 }), /tensor model.layers.2.* is missing.*; take/],
  [
    'heads that do not divide the hidden size',
    config({ num_attention_heads: 5 }),
    /config.json: num_attention_heads is 5, which does not divide hidden_size 64; correct it, or state head_dim/,
  ],
  [
    'no heads',
    config({ num_attention_heads: 0 }),
    /num_attention_heads is 0; it must be a whole number from 1/,
  ],
  [
    'less than no heads',
    config({ num_attention_heads: -4 }),
    /num_attention_heads is -4; it must be a whole/,
  ],
  ['heads by half', config({ num_attention_heads: 4.5 }), /num_attention_heads is 4.5; it must be a whole/],
  ['heads without end', config({ num_attention_heads: 1e9 }), /num_attention_heads is 1000000000; .* to 512/],
  [
    'twice the heads',
    config({ num_attention_heads: 8 }),
    /k_proj.weight has shape \[32,64\]; .* mean \[16,64\]/,
  ],
  [
    'key-value heads that do not divide the heads',
    config({ num_key_value_heads: 3 }),
    /num_key_value_heads is 3, and num_attention_heads is 4: 4 heads cannot be shared by 3 evenly/,
  ],
  ['no key-value heads', config({ num_key_value_heads: 0 }), /num_key_value_heads is 0; it must be a whole/],
  ['an odd head', config({ head_dim: 15 }), /head_dim is 15; rotary positions turn pairs.* must be even/],
  ['a head of nothing', config({ head_dim: 0 }), /head_dim is 0; it must be a whole number from 1 to 1024/],
  ['a wider head', config({ head_dim: 32 }), /q_proj.weight has shape \[64,64\]; .* mean \[128,64\]/],
  ['layers by half', config({ num_hidden_layers: 2.5 }), /num_hidden_layers is 2.5; it must be a whole/],
  ['no context', config({ max_position_embeddings: 0 }), /max_position_embeddings is 0; it must be a whole/],
  ['an endless context', config({ max_position_embeddings: 1e20 }), /max_position_embeddings is 100000000/],
  ['no epsilon', config({ rms_norm_eps: 0 }), /rms_norm_eps is 0; it must be above 0/],
  ['no base', config({ rope_theta: -3 }), /rope_theta is -3; it must be above 0/],
  [
    'an unknown rope type',
    rope({ rope_type: 'spiral', factor: 2 }),
    /config.json: rope_scaling.rope_type is “spiral”, which is not supported; default, linear, llama3/,
  ],
  [
    'an unknown rope type under its older key',
    rope({ type: 'mrope', mrope_section: [1] }),
    /config.json: rope_scaling.type is “mrope”, which is not supported/,
  ],
  [
    'an unknown rope type in the newer section',
    config({ rope_parameters: { rope_type: 'spiral' } }),
    /config.json: rope_parameters.rope_type is “spiral”, which is not supported/,
  ],
  ['a factor of no kind', rope({ factor: 2 }), /rope_scaling.factor is 2, and rope_type does not say how/],
  [
    'yarn below nothing',
    rope({ rope_type: 'yarn', factor: -1 }),
    /rope_scaling.factor is -1; it must be above/,
  ],
  [
    'yarn from no length',
    rope({ rope_type: 'yarn', factor: 4, original_max_position_embeddings: 0 }),
    /rope_scaling.original_max_position_embeddings is 0; it must be above 0/,
  ],
  [
    'a yarn ramp that runs backwards',
    rope({ rope_type: 'yarn', factor: 4, beta_fast: 1, beta_slow: 32 }),
    /rope_scaling.beta_fast is 1; it must be above beta_slow, 32/,
  ],
  [
    'a llama3 ramp that runs backwards',
    rope({ ...llama3, low_freq_factor: 4, high_freq_factor: 4 }),
    /rope_scaling.high_freq_factor is 4; it must be above low_freq_factor, 4/,
  ],
  [
    'longrope that divides by 0',
    rope({ rope_type: 'longrope', short_factor: eight, long_factor: eight.with(1, 0) }),
    /rope_scaling.long_factor divides frequencies; all of its numbers must be above 0/,
  ],
  [
    'a template that throws',
    template("{{ raise_exception('never') }}"),
    /\/model\/chat_template.jinja: the chat template does not render \(never\); give another .* --chat-template FILE/,
  ],
  ['a template of no syntax', template('{% for m in %}'), /chat_template.jinja: .* does not render.*; give/],
  [
    'a template that calls nothing',
    template('{{ a.b() }}'),
    /chat_template.jinja: .* does not render.*; give/,
  ],
  [
    'a tokenizer of another kind',
    hf({}, (folder) => writeFile(join(folder, 'tokenizer.json'), '{"model":{"type":"Unigram"}}')),
    /\/model\/tokenizer.json: model.type is Unigram; only byte-pair encoding .*: take a model that has it/,
  ],
  [
    'one safetensors file by itself',
    async (folder) => {
      await writeHuggingFace(folder)
      return join(folder, 'model.safetensors')
    },
    /one file of a Hugging Face model; name the folder that it lies in, \/model$/,
  ],
]

test.for(cases)('%s is refused by file, key and remedy, and nothing is left', async ([_, make, says]) => {
  const text = await importRefusal(make)
  expect(text).toMatch(says)
  expect(text).toMatch(/^[^\n]{10,600}$/)
})
