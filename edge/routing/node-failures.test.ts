import { expect, test } from 'vitest'
import { failureOf } from './node-failures.ts'

const answer = (message: string) =>
  new Response(`{"error":{"message":"${message}","code":"grammar_invalid"}}`, { status: 400 })

test.each([
  ['is told to the client', 'the rule \\"root\\" is missing', 'the rule "root" is missing'],
  ['is left out where it is no JSON', 'a \\q', expect.stringContaining('make it simpler')],
  ['is left out where it has a line break', 'a\nb', expect.stringContaining('make it simpler')],
])('why a node refuses a grammar %s', async (_, message, told) => {
  const failure = await failureOf(answer(message), 'node-1')
  expect(failure.toQuartetError()).toMatchObject({ code: 'grammar_invalid', message: told })
})
