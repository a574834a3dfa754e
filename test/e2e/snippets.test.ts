import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { buildRequest, emptyForm } from '../../console/tenant/playground-request.ts'
import { snippets } from '../../console/tenant/snippets.ts'
import { ChatCompletion } from '../../shared/api/chat-completions.ts'
import { helpDesk, stack } from './shared-stack.ts'

/** The playground's request as a person pastes it: run as it stands, with the key in the environment. */

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const env = { ...process.env, QUARTET_API_KEY: helpDesk.key }

const form = {
  ...emptyForm,
  system: 'You’re "kind".\nAnswer in $1 `word`.',
  question: "Where's my parcel? \\n $HOME",
  temperature: 0,
  maxTokens: 48,
  schema:
    '{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}',
  logprobs: false,
}

function textOf(name: string): string {
  const request = buildRequest(form, 'tickets')
  if (!request.ok) throw new Error(request.message)
  const found = snippets(stack.edge, request.body).find((snippet) => snippet.name === name)
  if (found === undefined) throw new Error(`there is no snippet ${name}`)
  return found.text
}

test('the request as curl and as TypeScript answers what the playground asks', async () => {
  const curl = await run('sh', ['-c', textOf('curl')], { env })
  const { choices } = ChatCompletion.parse(JSON.parse(curl.stdout))
  const expected = choices[0]?.message.content ?? ''
  expect(JSON.parse(expected)).toEqual({ ok: expect.any(Boolean) })
  const typescript = await run(
    process.execPath,
    ['--input-type=module-typescript', '-e', textOf('TypeScript')],
    { env, cwd: root },
  )
  expect(typescript.stdout.trim()).toBe(expected.trim())
})

test('no snippet holds the key', () => {
  for (const name of ['curl', 'Python', 'TypeScript']) expect(textOf(name)).not.toContain(helpDesk.key)
})
