import { describe, expect, test } from 'vitest'
import type { ModelConfig } from '../../shared/backbone.ts'
import { tinyConfig } from '../../test/parity/tiny-backbone.ts'
import { cacheTypeFor, checkCacheType, layoutFor } from './cache-layout.ts'
import { cacheTypes } from './cache-type.ts'
import { devices } from './session.ts'

const configs: Readonly<Record<string, ModelConfig>> = {
  'the usual attention': tinyConfig,
  windows: {
    ...tinyConfig,
    attention: [0, 1, 2].map((layer) => ({ rotary: 0, window: layer === 1 ? null : 7 })),
  },
  'angles by length': {
    ...tinyConfig,
    rotary: [{ theta: 10_000, beyond: { rows: 60, factors: Array<number>(8).fill(2), magnitude: 1.1 } }],
  },
}

describe.each(Object.entries(configs))('a backbone with %s', (_, config) => {
  test('has on every device the type of cache that was asked for, or the device’s own where it lacks that', () => {
    for (const device of devices) {
      const layout = layoutFor(config, device)
      for (const cacheType of cacheTypes) {
        const type = cacheTypeFor(config, { device, cacheType })
        expect(() => checkCacheType(type, { device, layout }), `${cacheType} on ${device}`).not.toThrow()
        if (type !== cacheType)
          expect(() => checkCacheType(cacheType, { device, layout }), `${cacheType} on ${device}`).toThrow(
            expect.objectContaining({ code: 'invalid_request' }),
          )
      }
    }
  })
})

test('with CUDA, a cache of int8 is f16 for backbones that pages do not serve', () => {
  const onCuda = { device: 'cuda', cacheType: 'int8' } as const
  expect(Object.values(configs).map((config) => cacheTypeFor(config, onCuda))).toEqual(['int8', 'f16', 'f16'])
})
