import { readGgufHeader } from '../model/import/gguf-header.ts'
import { TensorFile } from '../model/import/tensor-file.ts'
import type { WeightFormat } from '../shared/backbone.ts'

/** The weights of a GGUF file. */
export interface PeerWeights {
  /** llama.cpp's name of the file type. */
  readonly name: string
  /**
   * Quartet's weights that read a text as well, the fewest bits first: the first that a benchmark has is what is held against
   * the file. Empty where nobody has compared them.
   */
  readonly asGood: readonly WeightFormat[]
}

/**
 * By `general.file_type`. The perplexities are those of `bench -- weights` (docs/backbones.md): q4's is below all of them, q8's 0.2 %
 * above Q4_1's.
 */
const fileTypes = new Map<unknown, PeerWeights>([
  [2, { name: 'Q4_0', asGood: ['q4', 'q8'] }],
  [3, { name: 'Q4_1', asGood: ['q4', 'q8'] }],
  [7, { name: 'Q8_0', asGood: ['q4', 'q8'] }],
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
