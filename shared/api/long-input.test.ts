import { expect, test } from 'vitest'
import { z } from 'zod'
import { parseRow } from '../training/row.ts'
import { CreateBatchRequest } from './batches.ts'
import { ChatCompletionRequest } from './chat-completions.ts'
import { CompletionRequest } from './completions.ts'
import { EmbeddingsRequest } from './embeddings.ts'
import { CreateJobRequest } from './fine-tuning.ts'
import { MessagesRequest } from './messages.ts'
import { parseRequest } from './parse.ts'
import { ResponsesRequest } from './responses.ts'
import { DetokenizeRequest, TokenizeRequest } from './tokenize.ts'

/** As many entries as a body of one megabyte has room for, about. */
const many = <T>(entry: T) => Array.from({ length: 250_000 }, () => entry)
const named = (value: unknown) =>
  Object.fromEntries(Array.from({ length: 60_000 }, (_, at) => [`a${at}`, value]))
const user = (content: unknown) => ({ role: 'user', content })

/** The mistakes that a schema holds in memory, those of a choice's alternatives too. */
function noted(issues: readonly z.core.$ZodIssue[]): number {
  let count = issues.length
  for (const issue of issues) {
    if (issue.code === 'invalid_union') for (const inner of issue.errors) count += noted(inner)
    if (issue.code === 'invalid_key' || issue.code === 'invalid_element') count += noted(issue.issues)
  }
  return count
}

test.each<[what: string, schema: z.ZodType, body: object]>([
  ['empty prompts', EmbeddingsRequest, { input: many([]) }],
  ['prompts of a wrong type', CompletionRequest, { prompt: many(null) }],
  ['a prompt of texts', CompletionRequest, { prompt: [1, ...many('a')] }],
  ['one of several prompts', CompletionRequest, { prompt: [many('a'), 'b'] }],
  ['tokens', DetokenizeRequest, { tokens: many('a') }],
  ['messages', ChatCompletionRequest, { messages: many({}) }],
  ['messages to tokenize', TokenizeRequest, { messages: many({}) }],
  ['parts of a message', ChatCompletionRequest, { messages: [user(many({}))] }],
  ['biases', ChatCompletionRequest, { messages: [user('a')], logit_bias: named('a') }],
  [
    'settings of a template',
    ChatCompletionRequest,
    { messages: [user('a')], chat_template_kwargs: named({}) },
  ],
  ['functions', ChatCompletionRequest, { messages: [user('a')], tools: many({}) }],
  ['choices', ChatCompletionRequest, { messages: [user('a')], guided_choice: many(1) }],
  ['items', ResponsesRequest, { input: many({}) }],
  ['metadata', ResponsesRequest, { input: 'a', metadata: named(1) }],
  ['blocks', MessagesRequest, { messages: [user(many({}))] }],
  ['metadata of a batch', CreateBatchRequest, { metadata: named(1) }],
  ['metadata of a job', CreateJobRequest, { metadata: named(1) }],
  ['integrations', CreateJobRequest, { integrations: many({}) }],
])(
  'a request that is wrong in %s from end to end is refused without a note of each mistake',
  (_, schema, body) => {
    const { error } = schema.safeParse({ model: 'm', max_tokens: 1, ...body })
    expect(noted(error?.issues ?? [])).toBeGreaterThan(0)
    expect(noted(error?.issues ?? [])).toBeLessThan(10_000)
  },
)

test('a line of training data that is wrong from end to end is refused by its length', () => {
  const completion = [{ role: 'assistant', content: 'a' }]
  expect(parseRow({ prompt: many(1), completion })).toEqual({
    problem: 'prompt: has more than 4096 messages; split the conversation',
  })
})

test('the document still says that prompts and tokens are required', () => {
  for (const [schema, field] of [
    [CompletionRequest, 'prompt'],
    [EmbeddingsRequest, 'input'],
    [DetokenizeRequest, 'tokens'],
  ] as const)
    expect(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }).required).toContain(field)
})

test('the words of a refusal tell of the whole list and of its first mistake', () => {
  const refusal = (more: object) => () =>
    parseRequest(CompletionRequest, { model: 'm', prompt: 'p', ...more })
  expect(refusal({ prompt: many('a') })).toThrow('prompt: holds 250000 prompts; a request has at most 128')
  expect(refusal({ prompt: [1, 2, -1, 'a'] })).toThrow('prompt[2]: must be a whole number, at least 0')
  expect(refusal({ logit_bias: Object.fromEntries(many(0).map((_, at) => [at, 1])) })).toThrow(
    'logit_bias: has more than 1024 entries',
  )
})
