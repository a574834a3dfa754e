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
  // A device has the rows of the longest request once more, and again for stacked adapters; tinyConfig reads 1,024.
  expect(rowsInBudget(5000 * rowBytes, { ...f32, layout: 'slots' })).toBe(5000 - 2 * 1024)
  expect(rowsInBudget(1001 * rowBytes, { ...f32, layout: 'slots' })).toBe(334)
  // Pages are whole ones, of 256 rows here, and one more is nobody's.
  expect(rowsInBudget(5000 * rowBytes, { ...f32, layout: 'pages' })).toBe(14 * 256)
  expect(rowsInBudget((16 * 256 - 1) * rowBytes, { ...f32, layout: 'pages' })).toBe(10 * 256)
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
      message: expect.stringMatching(/34 tokens.*for its prompt.*stacked.*at least 145920.*--cache-type f16/),
    }),
  )
  expect(() => rowsInBudget(575 * rowBytes, { ...f32, layout: 'pages' })).toThrow(
    expect.objectContaining({
      message: expect.stringMatching(/63 tokens.*pages of 256 with one to spare.*stacked.*at least 442368/),
    }),
  )
})
