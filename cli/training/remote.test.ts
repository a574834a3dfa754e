import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { trainCommand } from '../train.ts'

afterEach(() => vi.unstubAllEnvs())

const train = (...words: string[]) =>
  trainCommand().parseAsync(['--remote', '--data', 'a.jsonl', ...words], { from: 'user' })

const examples = fileURLToPath(new URL('../../demo/orders.heldout.jsonl', import.meta.url))

/** The URL of a server that listens until the test ends. */
async function listening(server: Server): Promise<string> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(() => void server.close())
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return `http://127.0.0.1:${address.port}`
}

test('an option that a job does not have is refused with those that it has, before anything is sent', async () => {
  await expect(train('--out', 'a.safetensors', '--m', '8')).rejects.toThrow(/does not take .*--out/)
  await expect(train('--m', '8')).rejects.toThrow('--remote does not take --m')
})

test('training for a tenant needs its key', async () => {
  vi.stubEnv('QUARTET_API_KEY', undefined)
  await expect(train('--epochs', '2', '--seed', '1')).rejects.toThrow('nothing says who trains')
})

test('a file that is not there is named', async () => {
  vi.stubEnv('QUARTET_API_KEY', 'qk_none')
  await expect(train('--edge', 'http://127.0.0.1:9')).rejects.toThrow('a.jsonl cannot be read')
})

test('what a job may choose reaches the edge, and what was not chosen is left to it', async () => {
  vi.stubEnv('QUARTET_API_KEY', 'qk_none')
  let asked: unknown
  const server = createServer(async (request, response) => {
    const body = await text(request)
    if (request.method === 'DELETE') return void response.end('{}')
    if (request.url === '/v1/files') {
      const file = {
        id: `file-${'a'.repeat(24)}`,
        object: 'file',
        bytes: 1,
        created_at: 1,
        filename: 'a.jsonl',
      }
      response.end(JSON.stringify({ ...file, purpose: 'fine-tune', status: 'processed', lines: 1 }))
      return
    }
    asked = JSON.parse(body)
    response.statusCode = 400
    response.end(JSON.stringify({ error: { message: 'no more than that', code: 'invalid_request' } }))
  })
  const edge = ['--edge', await listening(server), '--data', examples]
  await expect(train(...edge, '--placement', 'turn', '--epochs', '2')).rejects.toThrow('no more than that')
  expect(asked).toMatchObject({
    method: { type: 'supervised', supervised: { hyperparameters: { placement: 'turn', n_epochs: 2 } } },
  })
  expect(JSON.stringify(asked)).not.toContain('batch_size')
})

test('an option of a job is refused where nothing says that the edge trains', async () => {
  const here = (...words: string[]) =>
    trainCommand().parseAsync(['--data', 'a.jsonl', '--dry-run', ...words], { from: 'user' })
  await expect(here('--suffix', 'support')).rejects.toThrow(/--suffix is of a training on the edge/)
  await expect(here('--model', 'support')).rejects.toThrow(/--model is of a training on the edge/)
  await expect(here('--edge', 'http://127.0.0.1:9')).rejects.toThrow(/--edge is of a training on the edge/)
  await expect(here('--deploy-if-worse')).rejects.toThrow(/--deploy-if-worse is of a training on the edge/)
})

test('nothing is sent where one of the files cannot be read, and a refused job leaves no file behind', async () => {
  vi.stubEnv('QUARTET_API_KEY', 'qk_none')
  const calls: string[] = []
  const server = createServer(async (request, response) => {
    await text(request)
    calls.push(`${request.method} ${request.url}`)
    if (request.method === 'DELETE') return void response.end('{}')
    if (request.url !== '/v1/files') {
      response.statusCode = 400
      return void response.end(JSON.stringify({ error: { message: 'no such suffix' } }))
    }
    const id = `file-${String(calls.length).repeat(24)}`
    const file = { id, object: 'file', bytes: 1, created_at: 1, filename: 'a.jsonl' }
    response.end(JSON.stringify({ ...file, purpose: 'fine-tune', status: 'processed', lines: 1 }))
  })
  const edge = ['--edge', await listening(server), '--data', examples]
  await expect(train(...edge, '--dev', 'none.jsonl')).rejects.toThrow('none.jsonl cannot be read')
  const folder = fileURLToPath(new URL('.', import.meta.url))
  await expect(train(...edge, '--dev', folder)).rejects.toThrow(`${folder} is a folder`)
  expect(calls).toEqual([])
  await expect(train(...edge, '--dev', examples, '--suffix', 'S')).rejects.toThrow('no such suffix')
  expect(calls).toEqual([
    'POST /v1/files',
    'POST /v1/files',
    'POST /v1/fine_tuning/jobs',
    `DELETE /v1/files/file-${'1'.repeat(24)}`,
    `DELETE /v1/files/file-${'2'.repeat(24)}`,
  ])
})
