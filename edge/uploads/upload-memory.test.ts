import { afterEach, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { TenantId } from '../../shared/ids.ts'
import { maxUploadMs } from './arriving-chunks.ts'
import { maxTenantUploadBytes, maxUploadMemoryBytes, UploadMemory, UploadProgress } from './upload-memory.ts'

afterEach(() => {
  vi.useRealTimers()
})

const full = expect.objectContaining({ code: 'queue_full', retryAfterSeconds: expect.any(Number) })
const tenant = (name: string) => TenantId.parse(name)
const unknown = () => new UploadProgress(1)
const everybody = ['a', 'b', 'c', 'd', 'e'].map(tenant)

/** Fills the memory to its last byte, each tenant up to its share. */
function fill(memory: UploadMemory): Disposable[] {
  let left = maxUploadMemoryBytes
  return everybody.flatMap((each) => {
    const bytes = Math.min(left, maxTenantUploadBytes)
    left -= bytes
    return bytes > 0 ? [memory.take(each, bytes, unknown())] : []
  })
}

test('uploads at once get no more memory than there is, and what one gives back the next may have', () => {
  const memory = new UploadMemory()
  const [first] = fill(memory)
  expect(() => memory.take(tenant('late'), 1, unknown())).toThrow(full)
  first?.[Symbol.dispose]()
  first?.[Symbol.dispose]()
  memory.take(tenant('late'), maxTenantUploadBytes, unknown())
  expect(() => memory.take(tenant('later'), 1, unknown())).toThrow(full)
})

test('one tenant never has more than its share, so that others find room', () => {
  const memory = new UploadMemory()
  memory.take(tenant('greedy'), maxTenantUploadBytes - 10, unknown())
  memory.take(tenant('greedy'), 10, unknown())
  expect(() => memory.take(tenant('greedy'), 1, unknown())).toThrow(full)
  memory.take(tenant('modest'), maxTenantUploadBytes, unknown())
})

test('memory that an upload never gave back is free when its time is over', () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const memory = new UploadMemory()
  fill(memory)
  vi.setSystemTime(Date.now() + maxUploadMs - 1)
  expect(() => memory.take(tenant('late'), 1, unknown())).toThrow(full)
  vi.setSystemTime(Date.now() + 1)
  memory.take(tenant('late'), maxTenantUploadBytes, unknown())
})

/** A tenant's uploads as they are on their way, and the wait that one more is told. */
function uploading(of: readonly { tenant: string; bytes: number; held: number; bytesPerSecond: number }[]) {
  vi.useFakeTimers({ toFake: ['Date'] })
  const memory = new UploadMemory()
  const uploads = of.map((upload) => {
    const progress = new UploadProgress(upload.bytes)
    return { ...upload, progress, sent: 0, memory: memory.take(tenant(upload.tenant), upload.held, progress) }
  })
  /** Lets them go on for so many seconds; a whole upload gives its memory back within one more. */
  const goOn = (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      vi.setSystemTime(Date.now() + 1_000)
      for (const each of uploads) {
        if (each.sent >= each.bytes) each.memory[Symbol.dispose]()
        const bytes = Math.min(each.bytesPerSecond, each.bytes - each.sent)
        each.sent += bytes
        each.progress.arrived(bytes)
      }
    }
  }
  const wait = (name: string, bytes: number) => {
    try {
      memory.take(tenant(name), bytes, unknown())
      return 0
    } catch (thrown) {
      return z.object({ retryAfterSeconds: z.number() }).parse(thrown).retryAfterSeconds
    }
  }
  return { goOn, wait }
}

const MiB = 1024 * 1024

test.each([
  ['one upload of two must end', 8 * MiB, 6],
  ['both must end', 20 * MiB, 46],
])('the wait that a full share is told is true where uploads keep their pace: %s', (_, bytes, seconds) => {
  const { goOn, wait } = uploading([
    { tenant: 'busy', bytes: 50 * MiB, held: 8 * MiB, bytesPerSecond: MiB },
    { tenant: 'busy', bytes: 40 * MiB, held: 8 * MiB, bytesPerSecond: 4 * MiB },
  ])
  goOn(5)
  expect(wait('busy', bytes)).toBe(seconds)
  goOn(seconds - 2)
  expect(wait('busy', bytes)).toBeGreaterThan(0)
  goOn(2)
  expect(wait('busy', bytes)).toBe(0)
})

test('the wait of a tenant whose share is full is true where the others fill the memory as well', () => {
  const { goOn, wait } = uploading([
    { tenant: 'busy', bytes: 10 * MiB, held: 5 * MiB, bytesPerSecond: 2 * MiB },
    { tenant: 'a', bytes: 90 * MiB, held: 20 * MiB, bytesPerSecond: 3 * MiB },
    { tenant: 'b', bytes: 60 * MiB, held: 20 * MiB, bytesPerSecond: 3 * MiB },
    { tenant: 'c', bytes: 90 * MiB, held: 19 * MiB, bytesPerSecond: 3 * MiB },
  ])
  goOn(2)
  const seconds = wait('busy', 16 * MiB)
  expect(seconds).toBe(19)
  goOn(seconds - 1)
  expect(wait('busy', 16 * MiB)).toBeGreaterThan(0)
  goOn(1)
  expect(wait('busy', 16 * MiB)).toBe(0)
})

test('an upload that sends nothing is cut off when its patience ends: no longer is anybody told to wait for it', () => {
  const { goOn, wait } = uploading([
    { tenant: 'silent', bytes: 90 * MiB, held: 20 * MiB, bytesPerSecond: 0 },
    { tenant: 'a', bytes: 90 * MiB, held: 20 * MiB, bytesPerSecond: MiB },
    { tenant: 'b', bytes: 90 * MiB, held: 20 * MiB, bytesPerSecond: MiB },
  ])
  goOn(3)
  expect(wait('late', 8 * MiB)).toBe(18)
})
