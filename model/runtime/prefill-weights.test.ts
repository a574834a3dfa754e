import { expect, test } from 'vitest'
import { tinyConfig } from '../../test/parity/tiny-backbone.ts'
import { floatBytes, isSlowInEightBits, usualPrefillWeights } from './prefill-weights.ts'

const described = (flags: string) =>
  `processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse2 ${flags} rdpid\n\n`

test('a processor with AVX2 is slow in eight bits where it has no dot products of them', () => {
  expect(isSlowInEightBits(described('avx avx2'))).toBe(true)
  expect(isSlowInEightBits(described('avx2 avx512f avx512_vnni'))).toBe(false)
  expect(isSlowInEightBits(described('avx2 avx_vnni'))).toBe(false)
  expect(isSlowInEightBits(described('avx'))).toBe(false)
  // An ARM processor, and no description at all.
  expect(isSlowInEightBits('processor : 0\nFeatures : fp asimd asimddp\n')).toBe(false)
  expect(isSlowInEightBits('')).toBe(false)
})

test('SmolLM2’s layers have 106 million weights', () => {
  const config = { ...tinyConfig, layers: 30, d: 576, heads: 9, kvHeads: 3, headDim: 64, ffn: 1536 }
  expect(floatBytes(config)).toBe(4 * 106_168_320)
})

test('the copy is the default on a slow processor, where it takes a quarter of the memory at most', async () => {
  const smol = { ...tinyConfig, layers: 30, d: 576, heads: 9, kvHeads: 3, headDim: 64, ffn: 1536 }
  const slow = described('avx avx2')
  const chosen = (gib: number, { copies = 1, cpuInfo = slow } = {}) =>
    usualPrefillWeights(
      { config: smol, weights: 'q4' },
      { copies, host: { cpuInfo, bytes: gib * 1024 ** 3 } },
    )
  expect(await chosen(8)).toBe('f32')
  expect(await chosen(8, { cpuInfo: described('avx2 avx_vnni') })).toBe('stored')
  expect(await chosen(2)).toBe('f32')
  // What has a node by the stored weights would have none by the copy.
  expect(await chosen(1)).toBe('stored')
  // The nodes of one machine have a copy each.
  expect(await chosen(8, { copies: 5 })).toBe('f32')
  expect(await chosen(8, { copies: 6 })).toBe('stored')
})

test('prompts are read by the stored weights where a copy is of no use, or large', async () => {
  const ample = { cpuInfo: described('avx avx2'), bytes: 1024 ** 4 }
  for (const weights of ['f32', 'f16', 'bf16'] as const)
    expect(await usualPrefillWeights({ config: tinyConfig, weights }, { host: ample })).toBe('stored')
  expect(
    await usualPrefillWeights({ config: tinyConfig, weights: 'q8' }, { device: 'cuda', host: ample }),
  ).toBe('stored')
  const large = { ...tinyConfig, layers: 32, d: 4096, heads: 32, kvHeads: 8, headDim: 128, ffn: 14_336 }
  expect(await usualPrefillWeights({ config: large, weights: 'q4' }, { host: ample })).toBe('stored')
})
