import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { FileList, FileObject } from '../../shared/api/files.ts'
import { Job } from '../../shared/api/fine-tuning.ts'
import { TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'

const edge = new TestEdge()
let tenant: TestTenant

beforeAll(() => edge.seedBackbone())
beforeEach(async () => {
  tenant = await edge.seedTenant()
})

async function upload(text: string): Promise<FileObject> {
  const form = new FormData()
  form.append('purpose', 'fine-tune')
  form.append('file', new Blob([text]), 'a.jsonl')
  const headers = { authorization: `Bearer ${tenant.key}` }
  const answer = await edge.fetch('/v1/files', { method: 'POST', headers, body: form })
  return FileObject.parse(await answer.json())
}

const lines = (count: number, line: object = { prompt: 'hello', completion: 'world' }) =>
  `${JSON.stringify(line)}\n`.repeat(count)

const create = (file: FileObject, more: object = {}) =>
  edge.own(tenant, 'POST', '/fine_tuning/jobs', { model: 'tiny', training_file: file.id, ...more })

describe('an upload of examples', () => {
  test('counts what the serving tokenizer makes of them, as the tokenizer’s own route says', async () => {
    const file = await upload(lines(20))
    const tokenized = async (body: object): Promise<{ count: number }> =>
      (await edge.post('/tokenize', { key: tenant.key, body })).json()
    const messages = [{ role: 'user', content: 'hello' }]
    const asked = await tokenized({ model: 'tone', messages })
    const answered = await tokenized({ model: 'tone', prompt: 'world' })
    const [count] = file.token_counts ?? []
    // One more token ends the answer.
    expect(count).toMatchObject({
      backbone: 'tiny',
      examples: 20,
      tokens: 20 * (asked.count + answered.count + 1),
      is_exact: true,
      problem: null,
    })
    expect(count?.estimate).toMatchObject({ examples: 18, steps: 40, seconds_from: 'assumption' })
    expect(count?.estimate?.adapter_bytes).toBeGreaterThan(0)
    const kept = FileList.parse(await (await edge.own(tenant, 'GET', '/files')).json())
    expect(kept.data).toEqual([file])
  })

  test('of many megabytes counts their beginning and says that the rest is an estimate', async () => {
    const line = { prompt: 'hello '.repeat(40), completion: 'world' }
    const [few] = (await upload(lines(10, line))).token_counts ?? []
    const [many] = (await upload(lines(4_500, line))).token_counts ?? []
    expect(many).toMatchObject({ is_exact: false, examples: 4_500 })
    expect(many?.tokens).toBe(450 * (few?.tokens ?? 0))
  })

  test('of requests has no counts', async () => {
    const form = new FormData()
    form.append('purpose', 'batch')
    const request = { custom_id: 'a', method: 'POST', url: '/v1/completions', body: {} }
    form.append('file', new Blob([JSON.stringify(request)]), 'a.jsonl')
    const headers = { authorization: `Bearer ${tenant.key}` }
    const answer = await edge.fetch('/v1/files', { method: 'POST', headers, body: form })
    expect(await answer.json()).not.toHaveProperty('token_counts')
  })
})

describe('a job', () => {
  test('says what it is expected to take, with its own epochs', async () => {
    const file = await upload(lines(20))
    const job = Job.parse(await (await create(file, { hyperparameters: { n_epochs: 3 } })).json())
    expect(job.estimate).toMatchObject({ examples: 18, steps: 6 })
    const goesOn = Job.parse(await (await create(file, { model: 'tone' })).json())
    expect(goesOn.estimate?.adapter_bytes).toBe(tenant.adapter.file.length)
  })

  test.each([
    ['one line', lines(1), /training_file: it has one example; at least 2 are needed/],
    [
      'a line that the backbone has no room for',
      lines(3) + lines(1, { prompt: 'hello there '.repeat(300), completion: 'b' }),
      /training_file: line 4: the prompt is longer than the 512 tokens/,
    ],
  ])('on a file of %s is refused when it is created', async (_, text, words) => {
    const answer = await create(await upload(text))
    const { error } = await answer.json<{ error: { message: string; param: string } }>()
    expect([answer.status, error.param]).toEqual([400, 'training_file'])
    expect(error.message).toMatch(words)
    expect(await (await edge.own(tenant, 'GET', '/fine_tuning/jobs')).json()).toMatchObject({ data: [] })
  })
})

test('an upload is taken where a backbone is served that no adapter of a job would fit', async () => {
  const huge = { ...workerBackbone, slug: 'huge', d: 8_192, layers: 80 }
  await edge.admin('PUT', '/backbones/huge', { backbone: huge, tokenizer: tinyTokenizer })
  const { token_counts: counts } = await upload(lines(20))
  expect(counts?.find(({ backbone }) => backbone === 'huge')).toMatchObject({ examples: 20, estimate: null })
  expect(counts?.find(({ backbone }) => backbone === 'tiny')?.estimate).not.toBeNull()
})
