import { createReadStream } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toFile } from 'openai'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { violations } from './axe.ts'
import { openBrowser, openConsole } from './browser.ts'
import { clientOf, helpDesk, pirate, stack } from './shared-stack.ts'

/** The official package, unmodified, against the whole stack: from a file of examples to an answer of the tuned model. */

const { backbone } = stack
const client = clientOf(helpDesk.key)
let folder: string
let examples: readonly string[]

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-fine-tuning-'))
  const file = await readFile(new URL('../../demo/tickets.train.jsonl', import.meta.url), 'utf8')
  examples = file.trim().split('\n').slice(0, 24)
})
afterAll(() => rm(folder, { recursive: true }))

/** The console's page of a job, once it shows that the job has succeeded. */
async function seenToEnd(browser: Browser, id: string): Promise<Page> {
  const page = await openConsole(browser, { edge: stack.edge, key: helpDesk.key })
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
  await page.goto(`${stack.edge}/console/#/jobs/${id}`)
  await page.getByText('succeeded', { exact: true }).waitFor({ timeout: 110_000 })
  await page.getByRole('table', { name: 'Sample answers' }).waitFor()
  await page.getByRole('img', { name: 'Loss by step' }).waitFor()
  return page
}

test('a file becomes a job, the job a model, and the model answers: by the official client, and before the eyes of the console', async () => {
  await using browser = await openBrowser()
  const path = join(folder, 'examples.jsonl')
  await writeFile(path, examples.join('\n'))
  const file = await client.files.create({ purpose: 'fine-tune', file: createReadStream(path) })
  expect(await (await client.files.content(file.id)).text()).toBe(examples.join('\n'))
  const created = await client.fineTuning.jobs.create({
    model: backbone,
    training_file: file.id,
    suffix: 'e2e',
    seed: 1,
    method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 2, batch_size: 12 } } },
  })
  const page = await seenToEnd(browser, created.id)
  const job = await client.fineTuning.jobs.retrieve(created.id)
  expect(job).toMatchObject({
    status: 'succeeded',
    error: null,
    trained_tokens: expect.any(Number),
    evaluation: {
      accuracy: { examples: 2 },
      tuned_loss: expect.any(Number),
      untuned_loss: expect.any(Number),
    },
  })
  const messages: string[] = []
  for await (const event of client.fineTuning.jobs.listEvents(created.id)) messages.push(event.message)
  expect(messages).toContain('The job has successfully completed')
  expect(messages.at(-1)).toBe(`Created fine-tuning job: ${created.id}`)
  const model = job.fine_tuned_model
  expect(model).toMatch(/^ft:.*:e2e:/)
  const answer = await client.chat.completions.create({
    model: model ?? '',
    messages: [{ role: 'user', content: 'Where is my parcel?' }],
    temperature: 0,
    max_tokens: 4,
  })
  expect(answer.choices[0]?.finish_reason).toMatch(/stop|length/)
  expect((await client.files.delete(file.id)).deleted).toBe(true)
  expect(await violations(page)).toEqual([])
  await page.getByRole('link', { name: 'Try it in the playground' }).click()
  await page.getByLabel('Message').fill('Where is my parcel?')
  await page.getByRole('button', { name: 'Ask both' }).click()
  await page
    .getByText(/ended by/)
    .nth(1)
    .waitFor()
})

test('a file with a wrong line is refused with the line, however large it is', async () => {
  const lines = [...Array.from({ length: 20_000 }, () => examples[0] ?? ''), 'nonsense', examples[0] ?? '']
  const upload = client.files.create({
    purpose: 'fine-tune',
    file: await toFile(Buffer.from(lines.join('\n')), 'wrong.jsonl'),
  })
  await expect(upload).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining('line 20001: it is not JSON'),
  })
})

test('another tenant’s files and jobs are unknown', async () => {
  const other = clientOf(pirate.key)
  const file = await client.files.create({
    purpose: 'fine-tune',
    file: await toFile(Buffer.from(examples.join('\n')), 'mine.jsonl'),
  })
  await expect(other.files.retrieve(file.id)).rejects.toMatchObject({ status: 404 })
  await expect(
    other.fineTuning.jobs.create({ model: backbone, training_file: file.id }),
  ).rejects.toMatchObject({ status: 404, message: expect.stringContaining('training_file') })
  await client.files.delete(file.id)
})
