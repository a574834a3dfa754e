import { expect, test } from 'vitest'
import { tinyConfig } from '../../test/parity/tiny-backbone.ts'
import { cacheRowBytes, rowsInBudget } from './cache-budget.ts'

// 3 layers × (a key and a value) × 2 heads × 16 numbers × 4 bytes
const rowBytes = 768
const f32 = { config: tinyConfig, layout: 'host', type: 'f32' } as const

test('a budget in bytes is as many rows of all layers as fit', () => {
  expect(cacheRowBytes(tinyConfig, 'f32')).toBe(rowBytes)
  expect(rowsInBudget(100 * rowBytes, f32)).toBe(100)
  expect(rowsInBudget(101 * rowBytes - 1, f32)).toBe(100)
  expect(rowsInBudget(100 * rowBytes, { ...f32, type: 'int8' })).toBe(400)
  // A device has the rows of the longest request twice; tinyConfig reads 1,024.
  expect(rowsInBudget(3000 * rowBytes, { ...f32, layout: 'slots' })).toBe(3000 - 1024)
  expect(rowsInBudget(1001 * rowBytes, { ...f32, layout: 'slots' })).toBe(501)
})

test('a budget smaller than one request is refused with how much is needed and which setting gives it', () => {
  expect(() => rowsInBudget(63 * rowBytes, f32)).toThrow(
    expect.objectContaining({
      code: 'invalid_request',
      param: '--cache-bytes',
      message: expect.stringMatching(/63 tokens.*768 bytes.*at least 49152.*int8/),
    }),
  )
  expect(() => rowsInBudget(100 * rowBytes, { ...f32, layout: 'slots' })).toThrow(
    expect.objectContaining({
      message: expect.stringMatching(/50 tokens.*at least 98304.*--cache-type f16/),
    }),
  )
})
