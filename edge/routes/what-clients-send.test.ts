import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ChatCompletionChunk } from '../../shared/api/chat-completions.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { readSse, stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { byteIds, tinySpecials, tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
})
beforeEach(() => stubs.behave({ tokens: byteIds('Hi'), reason: 'stop' }))

const lastRequest = async () => GenerateRequest.parse((await stubs.calls()).at(-1)?.body)
const ignored = (response: Response) => response.headers.get('x-quartet-ignored')
const answered = async (body: object) => {
  const response = await edge.chat(tenant, body)
  expect([response.status, await response.clone().text()]).toEqual([200, expect.anything()])
  return response
}
const prompt = async (body: object) => {
  await answered(body)
  return (await lastRequest()).prompt
}

describe('at the value that changes nothing,', () => {
  test.each([
    { repetition_penalty: 1.0 },
    { min_tokens: 0 },
    { stop_token_ids: [] },
    { skip_special_tokens: true },
    { spaces_between_special_tokens: true },
    { chat_template_kwargs: {} },
    { metadata: {} },
    { metadata: { run: '7' } },
    { store: false },
    { reasoning_effort: 'none' },
    { service_tier: 'auto' },
    { length_penalty: 1 },
    { cache_prompt: true },
    { best_of: 1 },
    { use_beam_search: false },
    { add_generation_prompt: true, continue_final_message: false },
    { add_generation_prompt: null, continue_final_message: null },
    { tool_calls: null },
    { tools: null, tool_choice: null, functions: null },
    { logit_bias: null, stop: null, seed: null, user: null, metadata: null, store: null },
  ])('%j passes', async (body) => {
    const response = await answered(body)
    expect(ignored(response) ?? 'tool_calls').toBe('tool_calls')
  })

  test('fields of a message pass, and change no token', async () => {
    const plain = await prompt({ messages: [{ role: 'user', content: 'hello' }] })
    const text = { type: 'text', text: 'hello', cache_control: { type: 'ephemeral' } }
    expect(await prompt({ messages: [{ role: 'user', content: [text], tool_calls: null }] })).toEqual(plain)
    const answers = (more: object) => ({
      messages: [
        { role: 'user', content: 'a' },
        { role: 'assistant', content: 'b', ...more },
        { role: 'user', content: 'c' },
      ],
    })
    const bare = await prompt(answers({}))
    expect(await prompt(answers({ tool_calls: null, function_call: null, refusal: null }))).toEqual(bare)
    expect(await prompt(answers({ reasoning_content: 'because' }))).toEqual(bare)
  })
})

describe('a header names a parameter without effect:', () => {
  test.each([
    [{ reasoning_effort: 'high' }, 'reasoning_effort'],
    [{ store: true, service_tier: 'flex' }, 'store, service_tier'],
    [{ prompt_cache_retention: '24h' }, 'prompt_cache_retention'],
    [{ temprature: 1 }, 'temprature'],
    [{ messages: [{ role: 'user', content: 'x', mood: 'good' }] }, 'messages[0].mood'],
    [
      { messages: [{ role: 'user', content: [{ type: 'text', text: 'x', mood: 'good' }] }] },
      'messages[0].content[0].mood',
    ],
    [{ 'a\nb': 1, __proto__: { x: 1 } }, 'a?b'],
  ])('%j', async (body, names) => {
    expect(ignored(await answered(body))).toBe(names)
  })

  test('in a stream’s as well', async () => {
    expect(ignored(await answered({ stream: true, stream_options: { usage: true } }))).toBe(
      'stream_options.usage',
    )
  })
})

test('a tenant’s policy has unknown fields refused, by name', async () => {
  const strict = await edge.seedTenant()
  await edge.admin('PATCH', `/tenants/${strict.id}`, { policy: { strictParameters: true } })
  const refused = await new TestEdge().chat(strict, { temprature: 1 })
  expect(refused.status).toBe(400)
  expect(await refused.json()).toMatchObject({
    error: { code: 'unsupported_parameter', param: 'temprature' },
  })
  expect((await new TestEdge().chat(strict, { reasoning_effort: 'high' })).status).toBe(200)
})

describe('a seed', () => {
  const seedOf = async (seed: number) => {
    await answered({ seed })
    return (await lastRequest()).sampling.seed
  }

  test('of −1 is a random one', async () => {
    expect(await seedOf(-1)).toBeUndefined()
  })

  test('of 64 bits with a sign is one of the node’s, the same each time, and others differ', async () => {
    const seeds = [-2, -7, 2 ** 53, 2 ** 62, -(2 ** 63), 0, 5]
    const folded: (number | undefined)[] = []
    for (const seed of seeds) folded.push(await seedOf(seed))
    expect(new Set(folded).size).toBe(seeds.length)
    expect(await seedOf(-2)).toBe(folded[0])
    expect(await seedOf(5)).toBe(5)
  })
})

describe('the end of an answer', () => {
  const stopTokens = async (body: object) => {
    await answered(body)
    return (await lastRequest()).stopTokens
  }
  const { endOfText, imEnd, imStart } = tinySpecials

  test('may be more tokens than the model’s own', async () => {
    expect(await stopTokens({ stop_token_ids: [97, imEnd] })).toEqual([imEnd, endOfText, 97])
  })

  test('may be a special token by its name, with ignore_eos too', async () => {
    expect(await stopTokens({ stop: ['<|im_start|>', 'x'], ignore_eos: true })).toEqual([imStart])
    expect(await stopTokens({ stop: '<|im_end|>', ignore_eos: true })).toEqual([imEnd])
  })

  test('waits for min_tokens, a stop string too', async () => {
    await stubs.behave({ tokens: byteIds('abab'), reason: 'stop' })
    const response = await answered({ min_tokens: 3, stop: 'a' })
    expect(await response.json()).toMatchObject({ choices: [{ message: { content: 'ab' } }] })
    expect((await lastRequest()).sampling.minTokens).toBe(3)
  })
})

describe('the form of an answer', () => {
  const grammar = async (body: object) => {
    await answered(body)
    return (await lastRequest()).grammar
  }

  test('reaches the node, whichever way it is asked for', async () => {
    const schema = { type: 'object', properties: {}, additionalProperties: false }
    const json = { kind: 'json_schema', schema: JSON.stringify({ ...schema, required: [] }) }
    const parsed = async (body: object) => {
      const got = await grammar(body)
      return got?.kind === 'json_schema' ? JSON.parse(got.schema) : got
    }
    const named = { name: 'empty', schema, strict: true }
    expect(await parsed({ response_format: { type: 'json_schema', json_schema: named } })).toEqual(
      JSON.parse(json.schema),
    )
    expect(await parsed({ guided_json: JSON.stringify(schema) })).toEqual(JSON.parse(json.schema))
    expect(await parsed({ structured_outputs: { json: schema } })).toEqual(JSON.parse(json.schema))
    expect(await grammar({ guided_regex: '[a-z]+' })).toEqual({ kind: 'regex', pattern: '[a-z]+' })
    expect(await grammar({ guided_choice: ['a', 'b'] })).toEqual({
      kind: 'ebnf',
      grammar: 'root ::= "a" | "b"',
    })
    expect(await grammar({ response_format: { type: 'text' } })).toBeUndefined()
  })

  test('that a node cannot compile is a 400 with its reason, and no other node is asked', async () => {
    await stubs.behave({ tokens: [], refuse: { status: 400, code: 'grammar_invalid' } })
    const refused = await edge.chat(tenant, { guided_regex: '[a-' })
    expect(refused.status).toBe(400)
    expect(await refused.json()).toMatchObject({
      error: { code: 'grammar_invalid', param: 'guided_regex', message: 'as asked' },
    })
    expect(await stubs.calls()).toHaveLength(1)
  })
})

test('repetition_penalty reaches the node', async () => {
  await answered({ repetition_penalty: 1.2 })
  expect((await lastRequest()).sampling.repetitionPenalty).toBe(1.2)
})

test('chat_template_kwargs reach the template, and spell no special token', async () => {
  const template =
    '{% if enable_thinking is defined and not enable_thinking %}[no]{% endif %}{{ tone }}{% for m in messages %}{{ m.content }}{% endfor %}'
  const backbone = { ...workerBackbone, chat: { template } }
  const own = new TestEdge()
  await own.admin('PUT', '/backbones/tiny', { backbone, tokenizer: tinyTokenizer })
  try {
    const settings = { enable_thinking: false, tone: '<|im_end|>' }
    await own.chat(tenant, { model: 'tiny', chat_template_kwargs: settings })
    expect((await lastRequest()).prompt.slice(0, 14)).toEqual(byteIds('[no]<|im_end|>'))
  } finally {
    await own.seedBackbone()
  }
})

test('continuous_usage_stats has the usage so far on every event', async () => {
  await stubs.behave({ tokens: byteIds('abc'), delayMs: 15 })
  const response = await answered({
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
  })
  const events = (await readSse(response)).slice(0, -1)
  const usages = events.map((event) => ChatCompletionChunk.parse(JSON.parse(event)).usage)
  expect(usages[0]?.completion_tokens).toBe(0)
  expect(usages.map((usage) => usage?.completion_tokens)).toEqual([0, 1, 2, 3, 3, 3])
  expect(new Set(usages.map((usage) => usage?.prompt_tokens)).size).toBe(1)
})
