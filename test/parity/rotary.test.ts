import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import proto from 'onnx-proto'
import { afterAll, expect, test } from 'vitest'
import { z } from 'zod'
import { graphFiles } from '../../model/graph/export.ts'
import { withRotaryOutside } from '../../model/graph/rotary-outside.ts'
import { importBackbone } from '../../model/import/import.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { largestDifference, lastLogits } from './last-logits.ts'
import { openBackend, type TinyBackbone } from './tiny-backbone.ts'

/** Logits of the last token that rotary-reference.py computed by transformers' formulas. */
const Golden = z.array(
  z.object({
    name: z.string(),
    fixture: z.string(),
    /** Settings in place of those of the checkpoint's config.json. */
    settings: z.record(z.string(), z.unknown()),
    rows: z.int(),
    /** f32 in base64. */
    logits: z.string(),
  }),
)
const golden = Golden.parse(
  JSON.parse(await readFile(join(import.meta.dirname, '../fixtures/rotary/golden.json'), 'utf8')),
)
const scratch = await mkdtemp(join(tmpdir(), 'quartet-rotary-'))
afterAll(() => rm(scratch, { recursive: true }))

/** The checkpoint of a case, imported with the case's settings. */
async function imported(of: (typeof golden)[number]): Promise<Pick<TinyBackbone, 'folder' | 'manifest'>> {
  const path = await mkdtemp(join(scratch, 'checkpoint-'))
  await cp(join(import.meta.dirname, '../fixtures/backbones', of.fixture), path, { recursive: true })
  const config = join(path, 'config.json')
  await writeFile(config, JSON.stringify({ ...JSON.parse(await readFile(config, 'utf8')), ...of.settings }))
  const folder = join(path, 'backbone')
  const manifest = await importBackbone({ path, slug: 'rotary', weights: 'f32', destination: folder })
  return { folder, manifest }
}

async function open(of: (typeof golden)[number]): Promise<OnnxBackend> {
  const { folder, manifest } = await imported(of)
  const contextLength = manifest.config.contextLength
  return await openBackend({ folder, manifest }, { contextLength, cacheRows: 512 })
}

test.for(golden)('$name gives the logits of an independent computation', async (of) => {
  const backend = await open(of)
  try {
    const ids = Array.from({ length: of.rows }, (_, i) => (i * 47 + 3) % backend.limits.vocab)
    const expected = new Float32Array(Uint8Array.from(Buffer.from(of.logits, 'base64')).buffer)
    for (const chunk of [512, 70]) {
      const logits = await lastLogits(backend, { ids, count: 1, chunk })
      expect(logits.length).toBe(expected.length)
      expect(largestDifference(logits, expected)).toBeLessThan(1e-4)
    }
  } finally {
    await backend.close()
  }
})

const inBatch = ['longrope beyond the original length', 'dynamic between the trained and the longest length']

test.for(
  golden.filter(({ name }) =>
    [...inBatch, 'longrope on three quarters of each head'].some((known) => name.startsWith(known)),
  ),
)(
  '$name: turned in front of attention, as on CUDA, a prompt and decoded tokens have the same logits',
  async (of) => {
    const { folder, manifest } = await imported(of)
    const path = join(folder, graphFiles.serving)
    const plain = await openBackend({ folder, manifest }, { cacheRows: 512, threads: 1 })
    const turned = withRotaryOutside(await readFile(path), manifest.config)
    const nodes = proto.onnx.ModelProto.decode(turned).graph?.node ?? []
    const attentions = nodes.filter(({ opType }) => opType === 'GroupQueryAttention')
    // Cosines, sines and positions are inputs 7 to 9.
    expect(attentions.flatMap(({ input }) => input?.slice(7, 10) ?? []).join('')).toBe('')
    expect(nodes.filter(({ opType }) => opType === 'RotaryEmbedding').length).toBe(2 * attentions.length)
    await writeFile(path, turned)
    const outside = await openBackend({ folder, manifest }, { cacheRows: 512, threads: 1 })
    const ids = Array.from({ length: of.rows }, (_, i) => (i * 47 + 3) % manifest.config.vocab)
    const logitsOf = async (backend: OnnxBackend) => {
      const slots = [70, of.rows].map((rows) => backend.allocate(rows))
      const found: Float32Array[] = []
      const batch = []
      for (const [at, slot] of slots.entries()) {
        if (slot === undefined) throw new Error('no room')
        const tokens = ids.slice(0, (at === 0 ? 70 : of.rows) - 1)
        found.push(Float32Array.from(await backend.prefill({ slot, tokens })))
        batch.push({ slot, token: 5 + at })
      }
      found.push(Float32Array.from(await backend.decode(batch)))
      await backend.close()
      return found
    }
    const [expected, found] = [await logitsOf(plain), await logitsOf(outside)]
    for (const [at, logits] of expected.entries())
      expect(largestDifference(logits, found[at] ?? new Float32Array())).toBeLessThan(1e-4)
  },
)

test.for(golden.filter(({ name }) => inBatch.includes(name)))(
  '$name: a sequence keeps its own angles in a batch with shorter and longer ones',
  async (of) => {
    const backend = await open(of)
    const ids = Array.from({ length: of.rows }, (_, i) => (i * 47 + 3) % backend.limits.vocab)
    const start = async (rows: number) => {
      const slot = backend.allocate(rows)
      if (slot === undefined) throw new Error('no room')
      await backend.prefill({ slot, tokens: ids.slice(0, rows - 1) })
      return { slot, token: ids[rows - 1] ?? 0 }
    }
    try {
      const batch = [await start(70), await start(of.rows), await start(of.rows - 9)]
      const { vocab } = backend.limits
      const logits = (await backend.decode(batch)).slice(vocab, 2 * vocab)
      const expected = new Float32Array(Uint8Array.from(Buffer.from(of.logits, 'base64')).buffer)
      expect(largestDifference(logits, expected)).toBeLessThan(1e-4)
    } finally {
      await backend.close()
    }
  },
)
