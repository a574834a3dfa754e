import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { expect, test } from 'vitest'
import { Engine } from '../../gpu-node/engine/engine.ts'
import { AdapterDigest, TenantId } from '../../shared/ids.ts'
import { Random } from '../../shared/prng.ts'
import type { GenerateEvent } from '../../shared/wire.ts'
import { generateRequest } from '../contract/node-client.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, tinyBackbone } from './tiny-backbone.ts'

const variants = [
  { placement: 'turn', window: 9 },
  { placement: 'turn', window: 60, kind: 'idpg' },
  { placement: 'turn', kind: 'static', l_sp: 29 },
  { placement: 'late', tail: 4, window: 9 },
  undefined,
] as const

test('conversations give the very tokens and log-probabilities, whoever read them before, wherever their newest turns begin', async ({
  onTestFinished,
}) => {
  // Eight bits are where other kernels give other logits.
  const tiny = await tinyBackbone({ weights: 'q8' })
  const backend = await openBackend(tiny, { maxBatch: 4 })
  onTestFinished(async () => {
    await backend.close()
    await rm(dirname(tiny.folder), { recursive: true })
  })
  const adapters = variants.map(
    (metadata, seed) =>
      metadata && backend.loadAdapter(randomAdapter(tiny.manifest, { seed, anchor: 'own', ...metadata })),
  )
  const random = new Random(1)
  const below = (most: number) => Math.floor(random.next() * most)
  const asked = Array.from({ length: 30 }, (_, at) => {
    const length = 9 + below(290)
    const prompt = Array.from({ length }, (_, place) => (place * 31) % 256)
    return { at: at % adapters.length, prompt, turn: 2 + below(length - 3) }
  })
  const answersOf = async (prefixBytes: number) => {
    const engine = new Engine({ backend, queue: { total: 4, perTenant: 4 }, prefixBytes, chunkTokens: 48 })
    const answers: GenerateEvent[][] = []
    let cached = 0
    for (const { at, prompt, turn } of asked) {
      const loaded = adapters[at]
      const events = engine.submit({
        tenant: TenantId.parse('acme'),
        request: generateRequest({
          backbone: backend.backbone,
          adapter: loaded === undefined ? null : AdapterDigest.parse(String(at).padStart(64, '0')),
          ...{ prompt, turn, maxTokens: 3, logprobs: 2 },
        }),
        adapter: loaded === undefined ? null : { loaded, release: () => {} },
        signal: new AbortController().signal,
      })
      const said: GenerateEvent[] = []
      for await (const piece of events)
        for (const event of piece) {
          if (event.type === 'done') cached += event.usage.cachedTokens ?? 0
          else if (event.type === 'token') said.push({ ...event, cachedTokens: undefined })
        }
      expect(said).toHaveLength(3)
      answers.push(said)
    }
    return { answers, cached }
  }
  const [cold, warm] = [await answersOf(0), await answersOf(1e8)]
  expect(cold.cached).toBe(0)
  expect(warm.cached).toBeGreaterThan(1000)
  expect(warm.answers).toEqual(cold.answers)
})
