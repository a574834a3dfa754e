import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { z } from 'zod'
import { helpDesk, stack } from './shared-stack.ts'

/** From a file of examples to the next request's answer, on the real backbone. */

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))

/** Runs a command and returns its stdout; throws with its stderr when it failed. */
async function quartet(...words: readonly string[]): Promise<string> {
  const env = { ...process.env, QUARTET_HOME: stack.home }
  return (await promisify(execFile)(process.execPath, [main, ...words], { env })).stdout.trim()
}

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-e2e-training-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function dataOf(rows: readonly unknown[]): Promise<string> {
  const file = join(folder, 'data.jsonl')
  await writeFile(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  return file
}

const Answered = z.object({ usage: z.object({ prompt_tokens: z.int() }) })

/** The adapter that answered, and how many tokens it read. */
async function ask(path: string, body: unknown) {
  const response = await fetch(`${stack.edge}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${helpDesk.key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  expect(response.status).toBe(200)
  const { usage } = Answered.parse(await response.json())
  return { adapter: response.headers.get('x-quartet-adapter'), tokens: usage.prompt_tokens }
}

const Surveyed = z.object({ files: z.tuple([z.object({ promptTokens: z.object({ most: z.int() }) })]) })

/** Tokens of a prompt as training reads it. */
async function trainedTokens(row: unknown, ...more: readonly string[]): Promise<number> {
  const data = await dataOf([row, row])
  const words = ['adapter', 'train', '--data', data, '--dev-share', '0', '--dry-run', '--json', ...more]
  return Surveyed.parse(JSON.parse(await quartet(...words))).files[0].promptTokens.most
}

it('a trained adapter is published and answers the next request, which it reads as it was trained', async () => {
  const rows = Array.from({ length: 16 }, (_, i) => ({ prompt: `Order ${i}?`, completion: `no. ${i}` }))
  const out = join(folder, 'orders.safetensors')
  const train = ['--data', await dataOf(rows), '--dev-share', '0', '--m', '4', '--batch', '8', '--out', out]
  const digest = await quartet('adapter', 'train', ...train, '--steps', '2')
  expect(await quartet('adapter', 'inspect', out)).toContain(digest)
  const published = await quartet(
    ...['adapter', 'publish', out, '--tenant', helpDesk.id, '--alias', 'trained'],
  )
  expect(published).toBe(digest)

  const messages = [
    { role: 'system', content: 'Answer with a number.' },
    { role: 'user', content: 'Order 7, “façade” 🎉?' },
    { role: 'assistant', content: 'no. 7' },
    { role: 'user', content: 'And  the\n\nnext <|im_end|> one?' },
  ]
  const options = { model: 'trained', temperature: 0, max_tokens: 2 }
  expect(await ask('/v1/chat/completions', { ...options, messages })).toEqual({
    adapter: digest,
    tokens: await trainedTokens({ messages: [...messages, { role: 'assistant', content: 'no. 8' }] }),
  })
  const prompt = 'Order 7\n\tnumber:'
  expect(await ask('/v1/completions', { ...options, prompt })).toEqual({
    adapter: digest,
    tokens: await trainedTokens({ prompt, completion: ' 7' }, '--prompts', 'raw'),
  })
})
