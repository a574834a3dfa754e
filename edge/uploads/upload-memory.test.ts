import { afterEach, expect, test, vi } from 'vitest'
import { maxUploadMs } from './chunks-in-time.ts'
import { maxUploadMemoryBytes, UploadMemory } from './upload-memory.ts'

afterEach(() => {
  vi.useRealTimers()
})

const full = expect.objectContaining({ code: 'queue_full', retryAfterSeconds: 5 })

test('uploads at once get no more memory than there is, and what one gives back the next may have', () => {
  const memory = new UploadMemory()
  const most = memory.take(maxUploadMemoryBytes - 10)
  memory.take(10)
  expect(() => memory.take(1)).toThrow(full)
  most[Symbol.dispose]()
  most[Symbol.dispose]()
  memory.take(maxUploadMemoryBytes - 10)
  expect(() => memory.take(1)).toThrow(full)
})

test('what an upload never gave back is free when its time is over', () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const memory = new UploadMemory()
  memory.take(maxUploadMemoryBytes)
  vi.setSystemTime(Date.now() + maxUploadMs - 1)
  expect(() => memory.take(1)).toThrow(full)
  vi.setSystemTime(Date.now() + 1)
  memory.take(maxUploadMemoryBytes)
})
