import { afterEach, expect, test, vi } from 'vitest'
import { TenantId } from '../../shared/ids.ts'
import { maxUploadMs } from './arriving-chunks.ts'
import { maxTenantUploadBytes, maxUploadMemoryBytes, UploadMemory } from './upload-memory.ts'

afterEach(() => {
  vi.useRealTimers()
})

const full = expect.objectContaining({ code: 'queue_full', retryAfterSeconds: 5 })
const tenant = (name: string) => TenantId.parse(name)
const everybody = ['a', 'b', 'c', 'd', 'e'].map(tenant)

/** Fills the memory to its last byte, each tenant up to its share. */
function fill(memory: UploadMemory): Disposable[] {
  let left = maxUploadMemoryBytes
  return everybody.flatMap((each) => {
    const bytes = Math.min(left, maxTenantUploadBytes)
    left -= bytes
    return bytes > 0 ? [memory.take(each, bytes)] : []
  })
}

test('uploads at once get no more memory than there is, and what one gives back the next may have', () => {
  const memory = new UploadMemory()
  const [first] = fill(memory)
  expect(() => memory.take(tenant('late'), 1)).toThrow(full)
  first?.[Symbol.dispose]()
  first?.[Symbol.dispose]()
  memory.take(tenant('late'), maxTenantUploadBytes)
  expect(() => memory.take(tenant('later'), 1)).toThrow(full)
})

test('one tenant never has more than its share, so that others find room', () => {
  const memory = new UploadMemory()
  memory.take(tenant('greedy'), maxTenantUploadBytes - 10)
  memory.take(tenant('greedy'), 10)
  expect(() => memory.take(tenant('greedy'), 1)).toThrow(full)
  memory.take(tenant('modest'), maxTenantUploadBytes)
})

test('what an upload never gave back is free when its time is over', () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const memory = new UploadMemory()
  fill(memory)
  vi.setSystemTime(Date.now() + maxUploadMs - 1)
  expect(() => memory.take(tenant('late'), 1)).toThrow(full)
  vi.setSystemTime(Date.now() + 1)
  memory.take(tenant('late'), maxTenantUploadBytes)
})
