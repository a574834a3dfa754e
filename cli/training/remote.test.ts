import { afterEach, expect, test, vi } from 'vitest'
import { trainCommand } from '../train.ts'

afterEach(() => vi.unstubAllEnvs())

const train = (...words: string[]) =>
  trainCommand().parseAsync(['--remote', '--data', 'a.jsonl', ...words], { from: 'user' })

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
