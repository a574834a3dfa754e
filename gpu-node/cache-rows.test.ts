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
  // 8 GiB less weights, prefixes and the work of a run: pages of 256 rows, one of which is nobody's, and a stack's 1,024.
  expect(cacheRowsOf(settings, machine)).toBe(256 * Math.floor((3 * gib) / rowBytes / 256 - 5))
  expect(cacheRowsOf({ ...settings, cacheRows: 500 }, machine)).toBe(500)
  expect(cacheRowsOf({ ...settings, cacheBytes: 1024 * rowBytes, cacheRows: 500 }, machine)).toBe(256)
  expect(cacheRowsOf(settings, { ...machine, freeBytes: undefined })).toBe(usualCacheRows)
  // In places, with room for one request of 1,024 rows and not for its lane and a stack too: all three are shorter.
  const tight = 5 * gib + 1100 * rowBytes
  expect(cacheRowsOf(settings, { ...machine, layout: 'slots', freeBytes: tight })).toBe(367)
  expect(() => cacheRowsOf(settings, { ...machine, layout: 'pages', freeBytes: tight })).toThrow(
    'does not fit',
  )
})

test('a device with too little memory is refused with how much is needed and which settings lower it', () => {
  expect(() => cacheRowsOf(settings, { ...machine, freeBytes: 5 * gib })).toThrow(
    expect.objectContaining({
      code: 'node_unavailable',
      message: expect.stringMatching(
        /5120 MiB free.*weights take 3072.*prefixes 1024.*1024 tokens, which takes 1,.*--cache-bytes.*--prefix-bytes.*--weights/,
      ),
    }),
  )
})

test('a cache that is asked for beside more weights and prefixes than the device has room for is refused before it is made', () => {
  const given = [
    { setting: '--cache-rows', cacheRows: Math.floor((4 * gib) / rowBytes) },
    { setting: '--cache-bytes', cacheBytes: 4 * gib + 2 ** 20 },
  ]
  for (const { setting, ...asked } of given) {
    const wanted = { ...settings, ...asked }
    expect(() => cacheRowsOf(wanted, machine)).toThrow(
      expect.objectContaining({
        code: 'node_unavailable',
        message: expect.stringMatching(
          `8192 MiB free and 819[3-5] MiB are needed: 3072 for the weights.*${setting}.*--prefix-bytes.*--weights`,
        ),
      }),
    )
    expect(cacheRowsOf(wanted, { ...machine, freeBytes: 9 * gib })).toBeGreaterThan(10 ** 7)
    expect(cacheRowsOf(wanted, { ...machine, freeBytes: undefined })).toBeGreaterThan(10 ** 7)
  }
})
