import { beforeAll, describe, expect, test } from 'vitest'
import { makeAdapter } from '../../test/edge/adapter.ts'
import { errorOf, stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'

const edge = new TestEdge()
const tail = 1 + 'assistant\n'.length
let tenant: TestTenant

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
  const late = await makeAdapter({ backbone: workerBackbone, seed: 820, tail })
  await edge.own(tenant, 'PUT', `/adapters/${late.digest}`, late.file)
  await edge.own(tenant, 'PUT', '/aliases/late', { digest: late.digest })
  await stubs.behave({ tokens: [97] })
})

const fine = 'hello there, my friend'
const longest = workerBackbone.contextLength
const endpoints = [
  ['/embeddings', 'input'],
  ['/completions', 'prompt'],
] as const

async function refusal(path: string, body: object) {
  const response = await edge.own(tenant, 'POST', path, { model: 'late', ...body })
  expect(response.status).toBe(400)
  const { message, param } = await errorOf(response)
  return { message, param }
}

describe.each(endpoints)('at %s', (path, field) => {
  test.each([
    ['too short for late rows', 'hi', 'the prompt has 2 tokens'],
    ['empty', '', 'is empty'],
    ['too long', 'x'.repeat(longest), 'is longer than'],
    ['without a boundary', 'a'.repeat(100_001), 'without a word boundary'],
    ['of an unknown token', [40_000], 'is no token'],
  ])('of several prompts, the refusal says which one is %s', async (_, bad, words) => {
    const several = await refusal(path, { [field]: [fine, fine, bad, bad] })
    expect(several.param).toBe(`${field}[2]`)
    expect(several.message).toContain(`${field}[2]`)
    expect(several.message).toContain(words)
    for (const one of [bad, [bad]]) expect((await refusal(path, { [field]: one })).param).toBe(field)
  })
})

test('of several prompts, the refusal says which one leaves no room for max_tokens', async () => {
  const prompt = [fine, 'x'.repeat(longest - 20), fine]
  const { message, param } = await refusal('/completions', { prompt, max_tokens: 30 })
  expect(param).toBe('prompt[1]')
  expect(message).toMatch(/\(492 in prompt\[1\] and .*shorten prompt\[1\] or lower max_tokens$/)
  expect(await refusal('/completions', { prompt: prompt[1], max_tokens: 30 })).toMatchObject({
    param: 'prompt',
    message: expect.stringMatching(/\(492 in the prompt and .*shorten the prompt or/),
  })
})
