import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Engine } from '../../gpu-node/engine/engine.ts'
import type { LoadedAdapter } from '../../model/runtime/backend.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { AdapterDigest, TenantId } from '../../shared/ids.ts'
import { Random } from '../../shared/prng.ts'
import { decodeVector } from '../../shared/vector.ts'
import type { GenerateEvent } from '../../shared/wire.ts'
import { generateRequest } from '../contract/node-client.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

let tiny: TinyBackbone
let backend: OnnxBackend
/** [vocab, d] */
let head: Float32Array
beforeAll(async () => {
  tiny = await tinyBackbone()
  backend = await openBackend(tiny, { maxBatch: 4 })
  head = await tiny.source.read('embedding')
})
afterAll(async () => {
  await backend.close()
  await rm(join(tiny.folder, '..'), { recursive: true })
})

const random = new Random(5)
const tokens = (count: number) => Array.from({ length: count }, () => 3 + Math.floor(random.next() * 250))

const submit = async (engine: Engine, prompt: readonly number[], adapter?: LoadedAdapter) => {
  const events: GenerateEvent[] = []
  for await (const piece of engine.submit({
    tenant: TenantId.parse('acme'),
    request: generateRequest({
      backbone: backend.backbone,
      adapter: adapter === undefined ? null : AdapterDigest.parse('a'.repeat(64)),
      prompt: [...prompt],
      maxTokens: 0,
      embedding: 'mean',
    }),
    adapter: adapter === undefined ? null : { loaded: adapter, release: () => {} },
    signal: new AbortController().signal,
  }))
    events.push(...piece)
  return events
}

/** Cosine of the angle between the mean of the prompt's logits, which the head makes of the mean hidden state, and `vector` behind the head. */
async function agreement(vector: Float32Array, prompt: readonly number[], adapter?: LoadedAdapter) {
  const slot = backend.allocate(prompt.length + 8)
  if (slot === undefined) throw new Error('no room')
  const logits = Float32Array.from(
    await backend.score({ slot, tokens: prompt, ...(adapter && { adapter }) }, [...prompt.keys()]),
  )
  slot.release()
  const { vocab } = backend.limits
  const d = vector.length
  const [dot, a, b] = [0, 1, 2].map((of) => {
    let sum = 0
    for (let id = 0; id < vocab; id++) {
      let mean = 0
      for (let at = 0; at < prompt.length; at++)
        mean += (logits[at * vocab + id] ?? Number.NaN) / prompt.length
      const own = vector.reduce((total, x, i) => total + x * (head[id * d + i] ?? Number.NaN), 0)
      sum += [mean * own, mean * mean, own * own][of] ?? Number.NaN
    }
    return sum
  })
  return (dot ?? Number.NaN) / Math.sqrt((a ?? Number.NaN) * (b ?? Number.NaN))
}

test.each([undefined, 'static', 'iapt'] as const)(
  'the node’s embedding is the direction of the mean last hidden state of the prompt’s tokens (%s)',
  async (kind) => {
    const adapter =
      kind === undefined
        ? undefined
        : backend.loadAdapter(randomAdapter(tiny.manifest, { seed: 4, kind, anchor: 'sink' }))
    const prompts = [3, 20, 70].map((more) => tokens((adapter?.window ?? 0) + more))
    // A cache of earlier prompts has nothing of what an embedding needs.
    for (const prefixBytes of [0, 1 << 24]) {
      const engine = new Engine({
        backend,
        queue: { total: 64, perTenant: 64 },
        chunkTokens: 16,
        prefixBytes,
      })
      for (const prompt of [...prompts, ...prompts]) {
        const events = await submit(engine, prompt, adapter)
        expect(events.map(({ type }) => type)).toEqual(['embedding', 'done'])
        const [embedding] = events
        const vector = embedding?.type === 'embedding' ? decodeVector(embedding.vector) : undefined
        if (vector === undefined) throw new Error('no vector')
        expect(vector.length).toBe(tiny.manifest.config.d)
        expect(vector.reduce((sum, x) => sum + x * x, 0)).toBeCloseTo(1, 5)
        expect(await agreement(vector, prompt, adapter)).toBeGreaterThan(1 - 1e-6)
        expect(events.at(-1)).toMatchObject({ reason: 'length', usage: { promptTokens: prompt.length } })
      }
    }
  },
)
