import { expect, test } from 'vitest'
import { CreateKeyRequest } from './admin.ts'
import { CompletionRequest } from './completions.ts'
import { parseRequest } from './parse.ts'

const completion = (more: object) => () =>
  parseRequest(CompletionRequest, { model: 'm', prompt: 'p', ...more })

test.each([
  [{ max_tokens: 0 }, 'max_tokens: is 0, which needs echo or prompt_logprobs; ask for at least 1 token'],
  [{ max_tokens: -3 }, 'max_tokens: must be a whole number, at least 0'],
  [
    { prompt: Array.from({ length: 129 }, () => 'a') },
    'prompt: holds 129 prompts; a request has at most 128, so send several',
  ],
  [
    { prompt: Array.from({ length: 129 }, () => [1]) },
    'prompt: holds 129 prompts; a request has at most 128, so send several',
  ],
  [{ prompt: ['a', 5] }, 'prompt[1]: must be a string or an array of token ids'],
  [{ prompt: [5, 'a'] }, 'prompt[1]: must be of type number'],
  [{ logit_bias: { hello: 5 } }, 'logit_bias.hello: must be a token id'],
])('a completion with %j is refused in words that help', (more, message) => {
  expect(completion(more)).toThrow(message)
})

test('unknown fields are named, the first of very many', () => {
  const wrong = (count: number) => () =>
    parseRequest(
      CreateKeyRequest,
      Object.fromEntries(Array.from({ length: count }, (_, at) => [`x${at}`, 1])),
    )
  expect(wrong(2)).toThrow(/^unknown parameters: x0, x1; remove them$/)
  expect(wrong(50_000)).toThrow(/x14, x15 and 49984 more; remove them$/)
})

test('as many prompts as a request may have are taken', () => {
  expect(completion({ prompt: ['a', 'b', 'c', [1]] })()).toMatchObject({ prompt: ['a', 'b', 'c', [1]] })
})

test.each(['2030-01-01', 1.5, -1, true])('a key that expires at %j is told what a moment is', (expiresAt) => {
  expect(() => parseRequest(CreateKeyRequest, { expiresAt })).toThrow(
    /^expiresAt: must be milliseconds since 1970/,
  )
})
