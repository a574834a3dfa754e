import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Engine } from '../../gpu-node/engine/engine.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { AdapterDigest, TenantId } from '../../shared/ids.ts'
import { Random } from '../../shared/prng.ts'
import type { TokenScore } from '../../shared/wire.ts'
import { generateRequest } from '../contract/node-client.ts'
import { generateGreedily } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { responseLogLikelihood } from './response-likelihood.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

let tiny: TinyBackbone
let backend: OnnxBackend
beforeAll(async () => {
  tiny = await tinyBackbone()
  backend = await openBackend(tiny, { maxBatch: 4 })
})
afterAll(async () => {
  await backend.close()
  await rm(join(tiny.folder, '..'), { recursive: true })
})

const random = new Random(11)
const tokens = (count: number) => Array.from({ length: count }, () => 3 + Math.floor(random.next() * 250))

/** The request of an evaluation that reads a prompt and its response: one token is generated and looked away from. */
async function scoresOf(
  engine: Engine,
  prompt: readonly number[],
  adapter?: ReturnType<OnnxBackend['loadAdapter']>,
) {
  const scores: TokenScore[] = []
  const request = generateRequest({
    backbone: backend.backbone,
    adapter: adapter === undefined ? null : AdapterDigest.parse('a'.repeat(64)),
    prompt: [...prompt],
    maxTokens: 1,
    logprobs: 1,
    promptLogprobs: 1,
  })
  const events = engine.submit({
    tenant: TenantId.parse('acme'),
    request,
    adapter: adapter === undefined ? null : { loaded: adapter, release: () => {} },
    signal: new AbortController().signal,
  })
  for await (const piece of events)
    for (const event of piece) {
      if (event.type === 'prompt') scores.push(...event.scores)
      if (event.type === 'error') throw new Error(event.message)
    }
  return scores
}

test.each([undefined, 'static', 'iapt', 'lpt'] as const)(
  'a prompt scored by the node has the likelihood that evaluation gives its response (%s)',
  async (kind) => {
    const adapter =
      kind === undefined
        ? undefined
        : backend.loadAdapter(
            randomAdapter(tiny.manifest, {
              seed: 4,
              kind,
              anchor: 'sink',
              ...(kind === 'lpt' ? { at: 1 } : {}),
            }),
          )
    // Chunks of 16 rows: responses lie across their borders.
    const engine = new Engine({ backend, queue: { total: 64, perTenant: 64 }, chunkTokens: 16 })
    // An adapter's rows depend on the first tokens of what it is given, which here are all of the instruction.
    const window = adapter?.window ?? 0
    const examples = [5, 14, 20, 37].map((more) => ({
      instruction: tokens(window + more),
      response: tokens(6),
    }))
    const scored = await Promise.all(
      examples.map(({ instruction, response }) => scoresOf(engine, [...instruction, ...response], adapter)),
    )
    for (const [at, { instruction, response }] of examples.entries()) {
      const own = scored[at]?.slice(instruction.length - 1) ?? []
      expect(own.length).toBe(response.length)
      const sum = own.reduce((total, { logprob }) => total + logprob, 0)
      expect(sum).toBeCloseTo(await responseLogLikelihood({ backend, adapter }, { instruction, response }), 4)
    }
    const [{ instruction } = { instruction: [] }] = examples
    const greedy = await generateGreedily(backend, { prompt: instruction, adapter, count: 5 })
    const ranks = (await scoresOf(engine, [...instruction, ...greedy], adapter)).slice(instruction.length - 1)
    expect(ranks.map(({ rank }) => rank)).toEqual([1, 1, 1, 1, 1])
  },
)
