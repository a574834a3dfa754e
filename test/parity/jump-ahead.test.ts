import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Engine } from '../../gpu-node/engine/engine.ts'
import { Grammars } from '../../gpu-node/grammar/grammars.ts'
import { vocabularyOf } from '../../gpu-node/grammar/vocabulary.ts'
import { parseTokenizer } from '../../model/import/tokenizer.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { AdapterDigest, TenantId } from '../../shared/ids.ts'
import { type Grammar, greedySampling, type Sampling } from '../../shared/wire.ts'
import { generateRequest } from '../contract/node-client.ts'
import { tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { adapterVariants } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

const vocab = 320
const stopTokens = [tinySpecials.endOfText]
const vocabulary = vocabularyOf(parseTokenizer(tinyTokenizer), { vocab, eos: stopTokens })
if (vocabulary === undefined) throw new Error('the tiny tokenizer spells bytes')
const grammars = new Grammars({ vocabulary, workers: 1, checkMs: 60_000, compileMs: 60_000 })

let tiny: TinyBackbone
let backend: OnnxBackend
beforeAll(async () => {
  tiny = await tinyBackbone({ config: { vocab } })
  backend = await openBackend(tiny, { maxBatch: 12 })
})
afterAll(async () => {
  await grammars.close()
  await backend.close()
  await rm(dirname(tiny.folder), { recursive: true })
})

const form: Grammar = {
  kind: 'json_schema',
  schema: JSON.stringify({
    type: 'object',
    properties: {
      hello_hello_world: { enum: ['hello world', 'well', 'hell'] },
      world_world_hello: { type: 'integer', minimum: 1, maximum: 99 },
      hello_world_world_hello: { type: 'string', maxLength: 8 },
    },
    required: ['hello_hello_world', 'world_world_hello', 'hello_world_world_hello'],
    additionalProperties: false,
  }),
}

/** Answers under the form, each beside a free one, of the untuned backbone and of an adapter of every kind. */
async function answers(leastJump: number, sampling: Partial<Sampling>) {
  const engine = new Engine({ backend, queue: { total: 64, perTenant: 64 }, leastJump })
  const answer = async (at: number, isHeld: boolean) => {
    const metadata = adapterVariants[at]
    const adapter = metadata && backend.loadAdapter(randomAdapter(tiny.manifest, { seed: at, ...metadata }))
    const request = generateRequest({
      backbone: backend.backbone,
      adapter: adapter === undefined ? null : AdapterDigest.parse('a'.repeat(64)),
      prompt: Array.from({ length: 17 + at }, (_, place) => (place * 31 + at) % 256),
      maxTokens: 60,
      sampling: { ...greedySampling, ...sampling, seed: at },
      stopTokens,
    })
    const ids: number[] = []
    const events = engine.submit({
      tenant: TenantId.parse('acme'),
      request,
      adapter: adapter === undefined ? null : { loaded: adapter, release: () => {} },
      grammar: isHeld ? await grammars.open(form, { stopTokens }) : undefined,
      signal: new AbortController().signal,
    })
    for await (const piece of events)
      for (const event of piece) {
        if (event.type === 'token') ids.push(event.id)
        if (event.type === 'error') throw new Error(event.message)
      }
    return ids
  }
  return Promise.all(
    adapterVariants.flatMap((_, at) => [answer(at, true), ...(at % 3 === 0 ? [answer(at, false)] : [])]),
  )
}

test.each([{ temperature: 0 }, { temperature: 1 }])(
  'forced texts that run at once leave every answer as it is, of every kind of adapter: %j',
  async (sampling) => {
    const atOnce = await answers(2, sampling)
    expect(atOnce).toEqual(await answers(Number.POSITIVE_INFINITY, sampling))
    expect(new Set(atOnce.map(String)).size).toBeGreaterThan(10)
  },
)
