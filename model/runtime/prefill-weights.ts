import { readFile } from 'node:fs/promises'
import { totalmem } from 'node:os'
import type { BackboneManifest, ModelConfig } from '../../shared/backbone.ts'
import type { Device } from './session.ts'

/** By which weights prompts are read: those that are stored, or a copy of the layers' in f32 that is made at loading. */
export const prefillWeights = ['stored', 'f32'] as const
export type PrefillWeights = (typeof prefillWeights)[number]

/** Memory of a copy that is taken unasked, and the share of all copies: 4-bit weights take twice that at loading. */
const [mostBytes, mostShare] = [2 * 1024 ** 3, 1 / 4]

/** Processors that multiply 8-bit numbers quicker than f32: those with dot products of them (VNNI). */
const dotProducts = ['avx512_vnni', 'avx_vnni']

/** What a process runs on. */
interface Host {
  /** Its processors, as Linux describes them. */
  readonly cpuInfo: string
  /** Memory that the process may have. */
  readonly bytes: number
}

interface PrefillPlace {
  readonly device?: Device
  /** This machine when absent. */
  readonly host?: Host
  /** Processes that have the backbone, each with a copy of its own. */
  readonly copies?: number
}

/**
 * The usual choice for a backbone on a device: a copy in f32 where the processor is known to read prompts quicker by it, and
 * where it is not large.
 */
export async function usualPrefillWeights(
  manifest: Pick<BackboneManifest, 'config' | 'weights'>,
  { copies = 1, device = 'cpu', host }: PrefillPlace = {},
): Promise<PrefillWeights> {
  if (device !== 'cpu' || !hasQuants(manifest)) return 'stored'
  const { bytes, cpuInfo } = host ?? (await thisHost())
  const isSmall = floatBytes(manifest.config) <= Math.min(mostBytes, (bytes * mostShare) / copies)
  return isSmall && isSlowInEightBits(cpuInfo) ? 'f32' : 'stored'
}

/** The whole memory and not what is free: nodes and tools on one machine choose alike, whatever else runs. */
async function thisHost(): Promise<Host> {
  const cpuInfo = await readFile('/proc/cpuinfo', 'utf8').catch(() => '')
  // 0 where nothing bounds the process.
  const bound = process.constrainedMemory() || Number.POSITIVE_INFINITY
  return { cpuInfo, bytes: Math.min(totalmem(), bound) }
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
