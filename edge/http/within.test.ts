import { expect, test } from 'vitest'
import { within } from './within.ts'

const never = new Promise<string>(() => {})
const fail = (): never => {
  throw new Error('too late')
}

test('work that ends in time gives its result or its failure', async () => {
  expect(await within(1_000, { work: Promise.resolve('done'), late: fail })).toBe('done')
  await expect(within(1_000, { work: Promise.reject(new Error('broken')), late: fail })).rejects.toThrow(
    'broken',
  )
})

test('work that takes longer gives what its caller wants instead', async () => {
  expect(await within(5, { work: never, late: () => 'instead' })).toBe('instead')
  await expect(within(5, { work: never, late: fail })).rejects.toThrow('too late')
})
