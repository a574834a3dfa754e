import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import proto from 'onnx-proto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { tinyChat } from '../../test/fakes/tiny-tokenizer.ts'
import { randomBlocks } from '../../test/ggml-blocks.ts'
import {
  type GgufTensor,
  importedConfig,
  tinySource,
  writeGguf,
  writeHuggingFace,
} from '../../test/model-files.ts'
import { openBackbone, verifyBackbone } from '../backbone/backbone-folder.ts'
import { fileSha256 } from '../backbone/file-digest.ts'
import { readWeights } from '../graph/stored-weights.ts'
import { openGguf } from './gguf.ts'
import { type ImportOptions, importBackbone } from './import.ts'
import { host } from './process-identity.ts'
import { checkQuantisation } from './quantisation-check.ts'

let root: string
let gguf: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'quartet-import-'))
  gguf = join(root, 'tiny.gguf')
  await writeGguf(gguf)
})
afterEach(() => rm(root, { recursive: true }))

const into = (name: string, options: Partial<ImportOptions> = {}) =>
  importBackbone({ path: gguf, slug: 'tiny', weights: 'f32', destination: join(root, name), ...options })

const message = (promise: Promise<unknown>) =>
  promise.then(
    () => 'it succeeded',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  )

test('an import is a folder whose manifest describes it and holds the hash of every file', async () => {
  const manifest = await into('out')
  expect(manifest).toMatchObject({
    slug: 'tiny',
    weights: 'f32',
    config: { ...importedConfig, rmsEps: Math.fround(importedConfig.rmsEps) },
    tokens: { bos: null, eos: [302, 300] },
    chat: { template: tinyChat.template },
    source: { kind: 'gguf', name: 'tiny.gguf', sha256: await fileSha256(gguf) },
  })
  const backbone = await openBackbone(join(root, 'out'))
  expect(backbone.manifest).toEqual(manifest)
  expect(manifest.digest).toBe(await fileSha256(join(root, 'out', 'weights.bin')))
  await verifyBackbone(backbone)
})

test('the same weights from a GGUF and from a folder give the same digest', async () => {
  await writeHuggingFace(join(root, 'folder'))
  const fromFile = await into('a', { weights: 'q8' })
  const fromFolder = await into('b', { weights: 'q8', path: join(root, 'folder') })
  expect(fromFolder.digest).toBe(fromFile.digest)
})

test('importing the same again changes nothing; importing another over it is refused', async () => {
  const first = await into('out')
  expect(await into('out')).toEqual(first)
  await writeGguf(gguf, { source: tinySource({ layers: 1 }) })
  expect(await message(into('out'))).toMatch(/holds another import .*remove it first/)
  await verifyBackbone(await openBackbone(join(root, 'out')))
})

test('weights in 4 bits: the embedding and what is named keep 8, and another choice is another import', async () => {
  const manifest = await into('out', { weights: 'q4', eightBits: ['down'] })
  expect(manifest).toMatchObject({ weights: 'q4', eightBits: ['down'] })
  const stored = async (matrix: string) => {
    const { graph } = proto.onnx.ModelProto.decode(await readFile(join(root, 'out', 'model.onnx')))
    return graph?.initializer?.some(({ name }) => name === `${matrix}.nibbles`) ? 4 : 8
  }
  expect(await Promise.all(['embedding', 'layers.0.down', 'layers.0.qkv'].map(stored))).toEqual([8, 8, 4])
  expect(await message(into('out', { weights: 'q4' }))).toMatch(/holds another import/)
  expect(await message(into('eight', { weights: 'q8', eightBits: ['down'] }))).toMatch(/these are q8/)
})

test('weights in 4 bits of a Q4_0 file have no offsets and are kept to the bit', async () => {
  const q4_0 = 2
  const q4_1 = 3
  const inFourBits = (all: readonly GgufTensor[]) =>
    all.map((tensor) => {
      const [rows = 0, columns] = tensor.shape
      if (columns === undefined || !tensor.name.startsWith('blk.')) return tensor
      const mixed = tensor.name === 'blk.1.attn_k.weight'
      const { bytes } = randomBlocks(mixed ? 'Q4_1' : 'Q4_0', (rows * columns) / 32)
      return { ...tensor, type: mixed ? q4_1 : q4_0, data: bytes }
    })
  await writeGguf(gguf, { tensors: inFourBits })
  await into('out', { weights: 'q4' })
  const { graph } = proto.onnx.ModelProto.decode(await readFile(join(root, 'out', 'model.onnx')))
  const stored = (graph?.initializer ?? []).map(({ name }) => name)
  // One operand in Q4_1 among three gives the whole product offsets.
  expect(stored.filter((name) => name?.endsWith('.offsets'))).toEqual(['layers.1.qkv.offsets'])
  expect(stored.filter((name) => name?.endsWith('.nibbles'))).toHaveLength(4 * importedConfig.layers)

  const { d, ffn, headDim, heads, kvHeads } = importedConfig
  const parts = { qkv: ['q', 'k', 'v'], gate_up: ['gate', 'up'], down: ['down'] } as const
  const shapes = { qkv: [(heads + 2 * kvHeads) * headDim, d], gate_up: [2 * ffn, d], down: [d, ffn] }
  const weights = await readWeights(
    join(root, 'out'),
    new Map(Object.entries(shapes).map(([name, shape]) => [`layers.0.${name}`, shape])),
  )
  const source = await openGguf(gguf)
  try {
    for (const [name, tensors] of Object.entries(parts)) {
      const stacked: number[] = []
      for (const tensor of tensors) stacked.push(...(await source.read(`layers.0.${tensor}`)))
      expect(weights.get(`layers.0.${name}`)).toEqual(Float32Array.from(stacked))
    }
  } finally {
    await source.close()
  }
})

test('two imports at once both succeed and leave one whole folder', async () => {
  const [a, b] = await Promise.all([into('out'), into('out')])
  expect(a).toEqual(b)
  expect((await readdir(root)).sort()).toEqual(['out', 'tiny.gguf'])
  await verifyBackbone(await openBackbone(join(root, 'out')))
})

test('an import that fails or is stopped half-way leaves nothing', async () => {
  const controller = new AbortController()
  const stopping = into('out', {
    signal: controller.signal,
    onProgress: (event) => event.type === 'progress' && event.done === 5 && controller.abort(),
  })
  expect(await message(stopping)).toMatch(/abort/i)
  expect(await readdir(root)).toEqual(['tiny.gguf'])
})

test('an import that finds the disk full says where and what to do, and leaves nothing', async () => {
  const full = into('out', {
    onProgress: (event) => {
      if (event.type === 'progress' && event.done === 5)
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
    },
  })
  expect(await message(full)).toMatch(
    /^the disk of .* is full, and nothing of the import is left there; free some space, or .* QUARTET_CACHE$/,
  )
  expect(await readdir(root)).toEqual(['tiny.gguf'])
})

test('the next import removes the files of a crashed import, not those of a running one', async () => {
  const crashed = `.out.partial.${host}.999999999.0123abcd`
  const running = `.out.partial.${host}.${process.ppid}.0123abcd`
  const elsewhere = '.out.partial.another-host.1.0123abcd'
  for (const name of [crashed, running, elsewhere]) {
    await mkdir(join(root, name))
    await writeFile(join(root, name, 'weights.bin'), 'half')
  }
  await into('out')
  expect((await readdir(root)).sort()).toEqual([elsewhere, running, 'out', 'tiny.gguf'].sort())
})

test('a broken backbone is not opened, and a changed byte is found by verification', async () => {
  await into('out')
  const folder = join(root, 'out')
  const whole = await openBackbone(folder)
  const tokenizer = join(folder, 'tokenizer.json')
  const before = await readFile(tokenizer)

  await writeFile(tokenizer, before.toString().replace('hello', 'jello'))
  expect(await message(verifyBackbone(whole))).toMatch(/tokenizer.json has the SHA-256/)
  await appendFile(tokenizer, ' ')
  expect(await message(openBackbone(folder))).toMatch(/tokenizer.json has \d+ bytes instead of \d+/)
  await rm(tokenizer)
  expect(await message(openBackbone(folder))).toMatch(/tokenizer.json is missing/)
  await writeFile(join(folder, 'manifest.json'), '{"format":"quartet-backbone/0"}')
  expect(await message(openBackbone(folder))).toMatch(/manifest.json: .*format/)
})

test('a manifest cannot name a file outside its folder', async () => {
  const manifest = await into('out')
  const files = { ...manifest.files, '../tiny.gguf': { sha256: '0'.repeat(64), bytes: 1 } }
  await writeFile(join(root, 'out', 'manifest.json'), JSON.stringify({ ...manifest, files }))
  expect(await message(openBackbone(join(root, 'out')))).toMatch(/lists the file name “..\/tiny.gguf”/)
})

test('the perplexity of stored weights is compared with that of f32 weights of the same file', async () => {
  await into('f32')
  await into('q8', { weights: 'q8' })
  const exact = await openBackbone(join(root, 'f32'))
  const same = await checkQuantisation(exact, exact)
  expect(same.increase).toBe(0)
  const stored = await checkQuantisation(await openBackbone(join(root, 'q8')), exact)
  expect(stored.exact).toBe(same.exact)
  expect(stored.stored).not.toBe(stored.exact)
  expect(Math.abs(stored.increase)).toBeLessThan(0.015)

  await writeGguf(gguf, { source: tinySource({ layers: 1 }) })
  await into('other')
  expect(await message(checkQuantisation(await openBackbone(join(root, 'other')), exact))).toMatch(
    /was made from/,
  )
})
