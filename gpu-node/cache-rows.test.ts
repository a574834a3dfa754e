import { expect, test } from 'vitest'
import { tinyConfig } from '../test/parity/tiny-backbone.ts'
import { cacheRowsOf, usualCacheRows } from './cache-rows.ts'

// 3 layers × (a key and a value) × 2 heads × 16 numbers × 2 bytes
const rowBytes = 384
const gib = 2 ** 30
const sha256 = '0'.repeat(64)
const machine = {
  manifest: { config: tinyConfig, files: { 'weights.bin': { bytes: 3 * gib, sha256 } } },
  layout: 'pages',
  type: 'f16',
  freeBytes: 8 * gib,
} as const
const settings = { cacheBytes: undefined, cacheRows: undefined, prefixBytes: gib }

test('the cache has what is left of the device, unless a setting says how much', () => {
  // 8 GiB less weights, prefixes and the work of a run.
  expect(cacheRowsOf(settings, machine)).toBe(Math.floor((3 * gib) / rowBytes))
  expect(cacheRowsOf({ ...settings, cacheRows: 500 }, machine)).toBe(500)
  expect(cacheRowsOf({ ...settings, cacheBytes: 100 * rowBytes, cacheRows: 500 }, machine)).toBe(100)
  expect(cacheRowsOf(settings, { ...machine, freeBytes: undefined })).toBe(usualCacheRows)
})

test('a device with too little memory is refused with how much is needed and which settings lower it', () => {
  expect(() => cacheRowsOf(settings, { ...machine, freeBytes: 5 * gib })).toThrow(
    expect.objectContaining({
      code: 'node_unavailable',
      message: expect.stringMatching(
        /5120 MiB free.*weights take 3072.*prefixes 1024.*1024 tokens.*--cache-bytes.*--prefix-bytes.*--weights/,
      ),
    }),
  )
})
