import { readGgufHeader } from '../model/import/gguf-header.ts'
import { TensorFile } from '../model/import/tensor-file.ts'

/** Weights that Quartet serves in a comparison: the benchmarks' own backbone in 8 bits, or 4 bits made of a file of the peer's. */
export type OwnWeights = 'q8' | 'q4 of Q4_0' | 'q4 of Q4_1'

/** The weights of a GGUF file. */
export interface PeerWeights {
  /** llama.cpp's name of the file type. */
  readonly name: string
  /** Quartet's weights of the same file in 4 bits, where it has 4. */
  readonly inFourBits?: OwnWeights
  /**
   * Quartet's weights that read a text as well, the nearest to the file first: the first that a benchmark has is what is held
   * against the file. Empty where nobody has compared them.
   */
  readonly asGood: readonly OwnWeights[]
}

/**
 * By `general.file_type`. The perplexities are those of `bench -- weights` (docs/backbones.md): q4 has that of the file that it is made
 * of; Q4_1's is below Q8_0's there, and q8's 0.2 % above Q4_1's.
 */
const fileTypes = new Map<unknown, PeerWeights>([
  [2, { name: 'Q4_0', inFourBits: 'q4 of Q4_0', asGood: ['q4 of Q4_0', 'q4 of Q4_1', 'q8'] }],
  [3, { name: 'Q4_1', inFourBits: 'q4 of Q4_1', asGood: ['q4 of Q4_1', 'q8'] }],
  [7, { name: 'Q8_0', asGood: ['q4 of Q4_1', 'q8'] }],
])

/** Throws `backbone_invalid` where the file is no GGUF file. */
export async function peerWeights(gguf: string): Promise<PeerWeights> {
  const file = await TensorFile.open(gguf)
  try {
    const { metadata } = await readGgufHeader(file)
    const type = metadata['general.file_type']
    return fileTypes.get(type) ?? { name: `file type ${String(type)}`, asGood: [] }
  } finally {
    await file.close()
  }
}
