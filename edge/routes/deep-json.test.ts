import { beforeAll, expect, test } from 'vitest'
import { maxJsonDepth } from '../../shared/json-depth.ts'
import { errorOf, stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
  await stubs.behave({ tokens: [97] })
})

const objects = (depth: number) => `${'{"a": '.repeat(depth)}1${'}'.repeat(depth)}`
const lists = (depth: number) => `${'[ '.repeat(depth)}${'] '.repeat(depth)}`
const asked = '"messages": [{"role": "user", "content": "hello"}]'
const deep = 40_000

const post = (path: string, fields: string) =>
  edge.post(path, { key: tenant.key, body: `{"model": "tone", "max_tokens": 4, ${fields}}` })

test.each([
  ['a field that nobody knows', '/v1/chat/completions', `${asked}, "odd": ${lists(deep)}`],
  [
    'one beside another that nobody knows',
    '/v1/completions',
    `"prompt": "a", "odd": 1, "metadata": ${objects(deep)}`,
  ],
  [
    'the schema of a function',
    '/v1/chat/completions',
    `${asked}, "tools": [{"type": "function", "function": {"name": "f", "parameters": ${objects(deep)}}}]`,
  ],
  ['a field of responses', '/v1/responses', `"input": "a", "odd": ${objects(deep)}`],
  ['a field of messages', '/v1/messages', `${asked}, "odd": ${objects(deep)}`],
  ['a field of tokens', '/tokenize', `${asked}, "odd": ${lists(deep)}`],
  ['a format of responses', '/v1/responses', `"input": "a", "text": {"format": ${objects(deep)}}`],
  [
    'the schema of a tool of messages',
    '/v1/messages',
    `${asked}, "tools": [{"input_schema": ${lists(deep)}}]`,
  ],
  ['metadata of a batch', '/v1/batches', `"metadata": ${objects(deep)}`],
  ['settings of a job', '/v1/fine_tuning/jobs', `"method": ${objects(deep)}`],
  ['a field of embeddings', '/v1/embeddings', `"input": "a", "odd": ${lists(deep)}`],
])(
  'a body that nests without end is refused in words, whatever it stands in: %s',
  async (_, path, fields) => {
    const response = await post(path, fields)
    expect(response.status).toBe(400)
    expect(await errorOf(response)).toMatchObject({
      code: 'invalid_json',
      message: `in the body lists and objects stand in one another more than ${maxJsonDepth} deep; make it flatter`,
    })
  },
)

const history = (text: string) =>
  `"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"id": "1", "function":
    {"name": "f", "arguments": ${JSON.stringify(text)}}}]}, {"role": "tool", "tool_call_id": "1", "content": "b"}]`

test.each([
  ['a call of the history', history(`{"a": ${lists(deep)}}`), 'messages[1].tool_calls[0].function.arguments'],
  ['a schema', `${asked}, "guided_json": ${JSON.stringify(`{"const": ${lists(10_000)}}`)}`, 'guided_json'],
])('so is text that is read as JSON, by its field: %s', async (_, fields, param) => {
  const response = await post('/v1/chat/completions', fields)
  expect(response.status).toBe(400)
  expect(await errorOf(response)).toMatchObject({
    code: 'invalid_request',
    param,
    message: expect.stringMatching(new RegExp(`${maxJsonDepth} (levels )?deep; `)),
  })
})

test('what nests as deep as a body may is served', async () => {
  expect(
    (await post('/v1/chat/completions', `${asked}, "metadata": ${objects(maxJsonDepth - 1)}`)).status,
  ).toBe(200)
})
