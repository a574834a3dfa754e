import { readFile } from 'node:fs/promises'
import type { BackboneManifest, ModelConfig } from '../../shared/backbone.ts'
import type { Device } from './session.ts'

/** By which weights prompts are read: those that are stored, or a copy of the layers' in f32 that is made at loading. */
export const prefillWeights = ['stored', 'f32'] as const
export type PrefillWeights = (typeof prefillWeights)[number]

/** Memory of the copy that is taken unasked. */
const mostBytes = 2 * 1024 ** 3

/** Processors that multiply 8-bit numbers quicker than f32: those with dot products of them (VNNI). */
const dotProducts = ['avx512_vnni', 'avx_vnni']

/**
 * The usual choice for a backbone on a device: a copy in f32 where the processor is known to read prompts quicker by it, and
 * where it is not large.
 */
export async function usualPrefillWeights(
  manifest: Pick<BackboneManifest, 'config' | 'weights'>,
  device: Device = 'cpu',
): Promise<PrefillWeights> {
  if (device !== 'cpu' || !hasQuants(manifest) || floatBytes(manifest.config) > mostBytes) return 'stored'
  return isSlowInEightBits(await readFile('/proc/cpuinfo', 'utf8').catch(() => '')) ? 'f32' : 'stored'
}

/** Whether a processor, as Linux describes it, has AVX2 but no dot products of 8-bit numbers. */
export function isSlowInEightBits(cpuInfo: string): boolean {
  const flags = new Set(/^flags\s*:(.*)$/m.exec(cpuInfo)?.[1]?.trim().split(/\s+/))
  return flags.has('avx2') && !dotProducts.some((flag) => flags.has(flag))
}

/** Whether a backbone's layers have weights of so few bits that a copy in f32 is another one. */
export const hasQuants = ({ weights }: Pick<BackboneManifest, 'weights'>): boolean =>
  weights === 'q8' || weights === 'q4'

/** Bytes of the layers' matrices in f32. */
export function floatBytes({ d, ffn, headDim, heads, kvHeads, layers }: ModelConfig): number {
  const attention = (2 * heads + 2 * kvHeads) * headDim * d
  return layers * (attention + 3 * ffn * d) * Float32Array.BYTES_PER_ELEMENT
}
