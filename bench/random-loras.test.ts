import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { readGgufHeader } from '../model/import/gguf-header.ts'
import { TensorFile } from '../model/import/tensor-file.ts'
import { importedConfig, writeGguf } from '../test/model-files.ts'
import { writeRandomLoras } from './random-loras.ts'

it('a LoRA has a pair of rank 16 for every matrix of the layers, as llama.cpp names them', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'quartet-loras-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const [gguf, out] = [join(folder, 'model.gguf'), join(folder, 'loras')]
  await writeGguf(gguf)
  await writeRandomLoras({ gguf, out })
  expect((await readdir(out)).sort()).toEqual(Array.from({ length: 8 }, (_, at) => `lora${at}.gguf`))
  const file = await TensorFile.open(join(out, 'lora7.gguf'))
  onTestFinished(() => file.close())
  const { metadata, tensorInfos } = await readGgufHeader(file)
  expect(metadata).toEqual({
    'general.architecture': 'llama',
    'general.type': 'adapter',
    'adapter.type': 'lora',
    'adapter.lora.alpha': 32,
  })
  const { d, ffn, layers } = importedConfig
  expect(tensorInfos).toHaveLength(2 * 7 * layers)
  const shapes = new Map(tensorInfos.map(({ name, shape }) => [name, shape.map(Number)]))
  // The innermost axis comes first.
  expect(shapes.get('blk.1.ffn_down.weight.lora_a')).toEqual([ffn, 16])
  expect(shapes.get('blk.1.ffn_down.weight.lora_b')).toEqual([16, d])
})
