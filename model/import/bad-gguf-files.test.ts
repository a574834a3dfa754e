import { mkdir, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type BadModel, importRefusal, type Make } from '../../test/import-refusal.ts'
import {
  encodeGguf,
  ggufMetadata,
  ggufTensors,
  importedConfig,
  tinySource,
  writeGguf,
} from '../../test/model-files.ts'

const gguf =
  (metadata: Parameters<typeof ggufMetadataWith>[0]): Make =>
  async (path) => {
    await writeFile(path, encodeGguf(ggufMetadataWith(metadata), await ggufTensors(tinySource())))
    return undefined
  }
/** A key that is undefined is left out. */
function ggufMetadataWith(change: Record<string, string | number | readonly number[] | undefined>) {
  const all = { ...ggufMetadata(importedConfig), ...change }
  return Object.fromEntries(
    Object.entries(all).flatMap(([key, value]) => (value === undefined ? [] : [[key, value] as const])),
  )
}
const shaped =
  (shape: readonly number[]): Make =>
  async (path) => {
    await writeGguf(path, {
      tensors: (all) => all.map((each) => (each.name === 'blk.0.attn_k.weight' ? { ...each, shape } : each)),
    })
    return undefined
  }
const part = (folder: string, i: number) => join(folder, `m-0000${i}-of-00003.gguf`)
const split =
  (
    after: (folder: string) => Promise<unknown>,
    keys = (i: number): Record<string, string | number> => ({ 'split.no': i - 1, 'split.count': 3 }),
  ): Make =>
  async (folder) => {
    await mkdir(folder)
    for (const i of [1, 2, 3])
      await writeGguf(part(folder, i), {
        metadata: keys(i),
        tensors: (all) => all.filter((_, at) => at % 3 === i - 1),
      })
    await after(folder)
    return part(folder, 1)
  }
const nothing = async () => undefined

const cases: readonly BadModel[] = [
  [
    'a folder of GGUF files',
    async (folder) => {
      await mkdir(folder)
      await writeGguf(join(folder, 'm.gguf'))
      return folder
    },
    /it has no config.json; to import a GGUF file name the file itself, such as m.gguf/,
  ],
  ...['bert', 't5', 'rwkv', 'plamo2', 'none'].map(
    (name): BadModel => [
      `a GGUF with the tokenizer of ${name}`,
      gguf({ 'tokenizer.ggml.model': name }),
      new RegExp(`/model: tokenizer.ggml.model ${name} is not supported; gpt2 and llama are: take`),
    ],
  ),
  [
    'a GGUF without a tokenizer',
    gguf({ 'tokenizer.ggml.model': undefined }),
    /tokenizer.ggml.model \(none\)/,
  ],
  [
    'a GGUF without tokens',
    gguf({ 'tokenizer.ggml.tokens': undefined }),
    /tokenizer.ggml.tokens is missing; take/,
  ],
  [
    'tokens that are no list',
    gguf({ 'tokenizer.ggml.tokens': 'x' }),
    /tokenizer.ggml.tokens is not a list.*; take/,
  ],
  [
    'a GGUF without merges',
    gguf({ 'tokenizer.ggml.merges': undefined }),
    /\/model: tokenizer.ggml.merges is missing/,
  ],
  [
    'another pre-tokenizer',
    gguf({ 'tokenizer.ggml.pre': 'gpt-9' }),
    /\/model: tokenizer.ggml.pre gpt-9 is not/,
  ],
  [
    'a GGUF template that throws',
    gguf({ 'tokenizer.chat_template': "{{ raise_exception('never') }}" }),
    /\/model: tokenizer.chat_template: the chat template does not render \(never\); give another/,
  ],
  [
    'GGUF heads that do not divide the width',
    gguf({ 'llama.attention.head_count': 5 }),
    /llama.attention.head_count is 5, which does not divide embedding_length 64; correct it, or state attention.key_length/,
  ],
  [
    'no GGUF heads',
    gguf({ 'llama.attention.head_count': 0 }),
    /llama.attention.head_count is 0; it must be a whole/,
  ],
  [
    'other GGUF heads',
    gguf({ 'llama.attention.head_count_kv': 4 }),
    /attn_k.weight has shape \[32,64\]; .* mean \[64,64\]; /,
  ],
  [
    'a GGUF factor below 0',
    gguf({ 'llama.rope.scaling.factor': -2.5 }),
    /llama.rope.scaling.factor is -2.5; it must be/,
  ],
  ['no GGUF base', gguf({ 'llama.rope.freq_base': 0 }), /llama.rope.freq_base is 0; it must be above 0/],
  [
    'a matrix of one axis',
    shaped([2048]),
    /\/model: tensor blk.0.attn_k.weight has shape \[2048\]; .*; download/,
  ],
  ['a matrix of three axes', shaped([1, 32, 64]), /attn_k.weight has shape \[1,32,64\]; .*; download/],
  [
    'a matrix on its side',
    shaped([64, 32]),
    /attn_k.weight has shape \[64,32\]; its metadata mean \[32,64\]; download/,
  ],
  [
    'a split GGUF without a part',
    split((folder) => rm(part(folder, 2))),
    /m-00002-of-00003.gguf: this part of the model is missing; download it/,
  ],
  [
    'a split GGUF with an empty part',
    split((folder) => truncate(part(folder, 2), 0)),
    /m-00002.*download it again/,
  ],
  [
    'a split GGUF with a page in place of a part',
    split((folder) => writeFile(part(folder, 2), '<html>')),
    /m-00002.*it does not begin with GGUF/,
  ],
  [
    'a split GGUF with parts under each other’s names',
    split(nothing, (i) => ({ 'split.no': 3 - i, 'split.count': 3 })),
    /m-00001-of-00003.gguf: split.no is 2, so it is part 3 of 3, and its name says 1; give each part/,
  ],
  [
    'a split GGUF of another count',
    split(nothing, (i) => ({ 'split.no': i - 1, 'split.count': 4 })),
    /m-00001.*one of 4 parts \(split.count\) and its name says 3; download all parts/,
  ],
  [
    'a split GGUF that counts in words',
    split(nothing, () => ({ 'split.count': 'three' })),
    /split.count is "three"/,
  ],
]

test.for(cases)('%s is refused by file, key and remedy, and nothing is left', async ([_, make, says]) => {
  const text = await importRefusal(make)
  expect(text).toMatch(says)
  expect(text).toMatch(/^[^\n]{10,600}$/)
})
