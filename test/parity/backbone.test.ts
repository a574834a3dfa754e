import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import { loadAnchors } from '../../model/runtime/anchors.ts'
import { compileText } from '../../model/runtime/compile.ts'
import { logNormaliser } from '../../model/runtime/logits.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { compareOnText } from '../../model/runtime/perplexity.ts'
import { parseSafeTensors } from '../../shared/safetensors.ts'
import { fixtureAdapter, fixtureBackbone, fixtures } from './fixtures.ts'
import { generateGreedily, scoreAll } from './generation.ts'
import { openBackend } from './tiny-backbone.ts'

/**
 * The real backbone in f32 against PyTorch's values for the same weights (test/fixtures/parity, written by an
 * independent implementation).
 */

const Case = z.object({ greedy: z.array(z.int()), rowLogSumExp: z.array(z.number()) })
const Golden = z.object({
  prompts: z.array(z.array(z.int())),
  cases: z.record(z.string(), z.array(Case)),
  perplexity: z.object({ ids: z.array(z.int()), value: z.number() }),
})

const files = {
  base: undefined,
  iapt: 'iapt-m8',
  'iapt-after': 'iapt-after-m8',
  'iapt-late': 'iapt-late-m8',
  static: 'static-6',
  idpg: 'idpg-m8',
  lpt: 'lpt-15',
} as const
type CaseName = keyof typeof files

let backbone: Backbone
let backend: OnnxBackend
let golden: z.infer<typeof Golden>

beforeAll(async () => {
  golden = Golden.parse(JSON.parse(await readFile(join(fixtures, 'golden.json'), 'utf8')))
  backbone = await fixtureBackbone()
  backend = await openBackend(backbone, { threads: 1 })
}, 600_000)
afterAll(() => backend?.close())

describe.for(Object.keys(files) as CaseName[])('%s', (name) => {
  test.for([0, 1])('prompt %i gives the reference’s logits and continuation', async (index) => {
    const { prompt, expected } = fixtureCase(name, index)
    const adapter = await loadedAdapter(name)
    const { vocab } = backend.limits

    const logits = await scoreAll(backend, { tokens: prompt, adapter })
    const sums = prompt.map((_, row) => logNormaliser(logits.subarray(row * vocab, (row + 1) * vocab)))
    expect(largestDifference(sums, expected.rowLogSumExp)).toBeLessThan(1e-3)
    const last = await tensor(`logits-${name}-${index}`, 'last')
    expect(largestDifference(logits.subarray(-vocab), last)).toBeLessThan(1e-3)

    expect(await generateGreedily(backend, { prompt, adapter, count: 16 })).toEqual(expected.greedy)
  })
})

test('the anchors are what the first token makes of each layer', async () => {
  const anchors = await loadAnchors(backbone.folder, backbone.manifest.config)
  expect(largestDifference(anchors, await tensor('sink', 'sink'))).toBeLessThan(1e-3)
})

test('perplexity is the reference’s', async () => {
  const { ids, value } = golden.perplexity
  const { perplexity } = await compareOnText({ exact: backbone, stored: backbone }, ids)
  expect(Math.abs(perplexity.exact - value)).toBeLessThan(0.01)
}, 120_000)

test('serving a compiled text equals serving the backbone with the text in front, bit for bit', async () => {
  const text = fixtureCase('base', 0).prompt
  const { prompt } = fixtureCase('base', 1)
  const adapter = backend.loadAdapter(await compileText({ ...backbone, tokens: text }))
  const compiled = await scoreAll(backend, { tokens: prompt, adapter })
  const inFront = (await scoreAll(backend, { tokens: [...text, ...prompt] })).subarray(-compiled.length)
  expect(largestDifference(compiled, inFront)).toBe(0)
})

test('rows in half precision change the logits by about 2^-11 of their size', async () => {
  const text = fixtureCase('base', 0).prompt
  const { prompt } = fixtureCase('base', 1)
  const file = await compileText({ ...backbone, tokens: text, precision: 'f16' })
  const compiled = await scoreAll(backend, { tokens: prompt, adapter: backend.loadAdapter(file) })
  const inFront = (await scoreAll(backend, { tokens: [...text, ...prompt] })).subarray(-compiled.length)
  expect(largestDifference(compiled, inFront)).toBeLessThan(0.03)
})

function fixtureCase(name: CaseName, index: number) {
  const prompt = golden.prompts[index]
  const expected = golden.cases[name]?.[index]
  if (prompt === undefined || expected === undefined) throw new Error(`no fixture ${name} ${index}`)
  return { prompt, expected }
}

async function loadedAdapter(name: CaseName) {
  if (files[name] === undefined) return undefined
  return backend.loadAdapter(await fixtureAdapter(files[name], backbone))
}

async function tensor(file: string, name: string): Promise<Float32Array> {
  const found = parseSafeTensors(await readFile(join(fixtures, `${file}.safetensors`))).tensors.get(name)
  if (found === undefined) throw new Error(`${file} has no tensor ${name}`)
  return new Float32Array(Uint8Array.from(found.data).buffer)
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length)
  let most = 0
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] ?? Number.NaN) - (b[i] ?? Number.NaN))
    if (!(difference <= most)) most = difference
  }
  return most
}
