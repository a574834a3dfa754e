import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { GenerateRequest } from '../../shared/wire.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
  // Where unknown fields are refused, known ones must be known at every endpoint.
  await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { strictParameters: true } })
})
beforeEach(() =>
  stubs.behave({
    tokens: byteIds('Hi'),
    reason: 'stop',
    embedding: Array.from({ length: workerBackbone.d }, () => 1),
  }),
)

const asked = async (path: string, body: object) => {
  const response = await edge.post(path, { key: tenant.key, body })
  expect([response.status, await response.clone().text()]).toEqual([200, expect.anything()])
  const sent = GenerateRequest.parse((await stubs.calls()).at(-1)?.body)
  const { grammar, logprobs, maxTokens, ownPriority, prompt, sampling, stopTokens } = sent
  const request = { grammar, logprobs, maxTokens, ownPriority, prompt, sampling, stopTokens }
  return { ignored: response.headers.get('x-quartet-ignored'), request }
}

const messages = [{ role: 'user', content: 'hello' }]
const conversation = { model: 'tone', messages, max_tokens: 9 }
const endpoints: Readonly<Record<string, object>> = {
  '/v1/chat/completions': conversation,
  '/v1/completions': { model: 'tone', prompt: 'hello' },
  '/v1/responses': { model: 'tone', input: 'hello' },
  '/v1/messages': conversation,
}
const sampling = {
  repetition_penalty: 1,
  min_tokens: 0,
  stop_token_ids: [],
  skip_special_tokens: true,
  length_penalty: 1,
  top_k: -1,
  min_p: 0,
  logit_bias: {},
  seed: -1,
  n: 1,
  bad_words: [],
  priority: 0,
  cache_prompt: true,
  store: false,
  service_tier: 'auto',
  reasoning_effort: 'none',
  metadata: {},
}
const nothing = {
  stop: null,
  seed: null,
  user: null,
  metadata: null,
  store: null,
  tools: null,
  tool_calls: null,
  logprobs: null,
  truncate_prompt_tokens: null,
  reasoning: null,
  temprature: null,
}
const own: readonly [path: string, body: object][] = [
  [
    '/v1/chat/completions',
    { tool_choice: null, parallel_tool_calls: true, response_format: { type: 'text' } },
  ],
  [
    '/v1/chat/completions',
    { messages: [{ ...messages[0], tool_calls: null, tool_call_id: null, audio: null }] },
  ],
  ['/v1/completions', { best_of: 1, echo: false, suffix: '', add_special_tokens: true }],
  ['/v1/responses', { instructions: '', reasoning: { effort: null, summary: null }, text: {}, include: [] }],
  [
    '/v1/responses',
    { background: false, truncation: 'disabled', tools: [], tool_choice: 'auto', store: true },
  ],
  ['/v1/messages', { system: '', stop_sequences: [], thinking: { type: 'disabled' }, tools: [] }],
  ['/v1/messages', { system: [], mcp_servers: [], container: null, service_tier: 'standard_only' }],
]

describe('a parameter at the value that changes nothing passes at every endpoint, and changes nothing:', () => {
  test.each(Object.entries(endpoints))('%s', async (path, body) => {
    const plain = await asked(path, body)
    expect(await asked(path, { ...body, ...sampling })).toEqual(plain)
    expect(await asked(path, { ...body, ...nothing })).toEqual(plain)
  })

  test.each(own)('%s %j', async (path, more) => {
    const body = endpoints[path] ?? {}
    expect(await asked(path, { ...body, ...more })).toEqual(await asked(path, body))
  })

  test('embeddings with as many dimensions as they have', async () => {
    const body = { model: 'tone', input: 'hello' }
    const more = {
      dimensions: workerBackbone.d,
      encoding_format: null,
      user: null,
      metadata: {},
      priority: null,
    }
    expect(await asked('/v1/embeddings', { ...body, ...more })).toEqual(await asked('/v1/embeddings', body))
  })

  test.each([
    ['/v1/messages/count_tokens', { model: 'tone', messages, system: [], tools: [], tool_choice: null }],
    ['/tokenize', { model: 'tone', messages, tools: null, chat_template_kwargs: {}, user: null }],
  ])('%s', async (path, body) => {
    const plain = await edge.post(path, { key: tenant.key, body: { model: 'tone', messages } })
    expect([plain.status, await (await edge.post(path, { key: tenant.key, body })).json()]).toEqual([
      200,
      await plain.json(),
    ])
  })
})

test.each([
  ['/v1/responses', { reasoning: { effort: 'high' } }, 'reasoning.effort'],
  ['/v1/responses', { text: { verbosity: 'low' } }, 'text.verbosity'],
  ['/v1/messages', { output_config: { effort: 'low' } }, 'output_config.effort'],
])('%s names %j as without effect', async (path, more, name) => {
  expect((await asked(path, { ...endpoints[path], ...more })).ignored).toBe(name)
})

test.each(Object.keys(endpoints))('a seed has the same range at %s', async (path) => {
  const seedOf = async (seed: number) =>
    (await asked(path, { ...endpoints[path], seed })).request.sampling.seed
  const seeds: (number | undefined)[] = []
  for (const seed of [-(2 ** 63), 2 ** 62, 2 ** 53, 0]) seeds.push(await seedOf(seed))
  expect(new Set(seeds).size).toBe(seeds.length)
  const refused = await edge.post(path, { key: tenant.key, body: { ...endpoints[path], seed: 2 ** 64 } })
  expect([refused.status, await refused.json()]).toMatchObject([400, { error: { param: 'seed' } }])
})
