import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Engine } from '../../gpu-node/engine/engine.ts'
import type { LoadedAdapter } from '../../model/runtime/backend.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { AdapterDigest, TenantId } from '../../shared/ids.ts'
import { Random } from '../../shared/prng.ts'
import type { TokenScore } from '../../shared/wire.ts'
import { likeliestChoice } from '../../training/evaluation/likeliest-choice.ts'
import { readPrompts } from '../../training/evaluation/read-prompts.ts'
import { responseLikelihood } from '../../training/evaluation/response-likelihood.ts'
import { generateRequest } from '../contract/node-client.ts'
import { adapterVariants, generateGreedily } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

let tiny: TinyBackbone
let backend: OnnxBackend
beforeAll(async () => {
  // Eight bits are where other kernels give other logits.
  tiny = await tinyBackbone({ weights: 'q8' })
  backend = await openBackend(tiny, { maxBatch: 4 })
})
afterAll(async () => {
  await backend.close()
  await rm(join(tiny.folder, '..'), { recursive: true })
})

const random = new Random(11)
const tokens = (count: number) => Array.from({ length: count }, () => 3 + Math.floor(random.next() * 250))

const queue = { total: 64, perTenant: 64 }

/** The request of an evaluation that reads a prompt and its response: one token is generated and looked away from. */
async function scoresOf(
  engine: Engine,
  {
    adapter,
    prompt,
    tail,
    turn,
  }: {
    prompt: readonly number[]
    adapter?: LoadedAdapter | undefined
    tail?: number
    turn?: number | undefined
  },
) {
  const scores: TokenScore[] = []
  const request = generateRequest({
    backbone: backend.backbone,
    adapter: adapter === undefined ? null : AdapterDigest.parse('a'.repeat(64)),
    prompt: [...prompt],
    ...(tail !== undefined && { tail }),
    ...(turn !== undefined && { turn }),
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

/** Responses of one token, of two, of several, and of so many that their last query would be alone. */
const responseLengths = [1, 2, 3, 6, 33]

describe.each(adapterVariants.map((metadata, at) => ({ at, metadata })))(
  'a response behind a prompt of $metadata',
  ({ at, metadata }) => {
    test('has the very log-probability in evaluation that the node gives it as a part of the prompt', async () => {
      const adapter = metadata && backend.loadAdapter(randomAdapter(tiny.manifest, { seed: at, ...metadata }))
      const window = adapter?.window ?? 0
      // Chunks of 16 rows at the node: responses lie across their borders.
      const engine = new Engine({ backend, queue, chunkTokens: 16 })
      // An adapter's rows depend on its window, which here is no longer than the instruction.
      const lengths = [window + (adapter?.tail ?? 0) + 1, window + 5, 33, 161]
      const examples = lengths.flatMap((length) => {
        const instruction = tokens(length)
        // Of the longest prompt the newest turn is a part.
        const turn = adapter?.placement === 'turn' && length > 100 ? 70 : undefined
        return responseLengths.map((count) => ({ instruction, turn, response: tokens(count) }))
      })
      const sums: number[] = []
      for (const { instruction, response, turn } of examples) {
        const tail = adapter?.tail
        const scores = await scoresOf(engine, {
          adapter,
          prompt: [...instruction, ...response],
          turn,
          ...(tail !== undefined && { tail: tail + response.length }),
        })
        const own = scores.slice(instruction.length - 1)
        expect(own.length).toBe(response.length)
        sums.push(own.reduce((total, { logprob }) => total + logprob, 0))
      }
      const model = { backend, adapter }
      const together = await readPrompts(
        model,
        examples.map(({ instruction, response, turn }) => ({
          instruction,
          turn,
          room: response.length,
          reader: (next) => responseLikelihood(next, response),
        })),
      )
      expect(together).toEqual(sums)
      for (const start of [0, responseLengths.length]) {
        const own = examples.slice(start, start + responseLengths.length)
        const choices = own.map(({ response }) => response)
        const [{ instruction } = { instruction: [] }] = own
        const reader = (next: Float32Array) => likeliestChoice(next, choices)
        const of = sums.slice(start, start + responseLengths.length)
        expect(await readPrompts(model, [{ instruction, room: 40, reader }])).toEqual([
          of.indexOf(Math.max(...of)),
        ])
      }
    })
  },
)

test('the likeliest answer has the first rank at the node, token by token', async () => {
  const engine = new Engine({ backend, queue })
  const instruction = tokens(37)
  const greedy = await generateGreedily(backend, { prompt: instruction, count: 5 })
  const scores = await scoresOf(engine, { prompt: [...instruction, ...greedy] })
  expect(scores.slice(instruction.length - 1).map(({ rank }) => rank)).toEqual([1, 1, 1, 1, 1])
})
