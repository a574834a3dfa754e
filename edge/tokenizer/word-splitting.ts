import { flattenStages, type Stage, type TokenizerFile } from './tokenizer-file.ts'

/** GPT-2's word pattern, which a ByteLevel stage applies unless `use_regex` is false. */
const gpt2Words = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

export interface WordSplitting {
  readonly stage: Stage | null
  /** Words leave the stages as text; their bytes are still to be mapped to GPT-2's characters. */
  readonly mapBytes: boolean
}

/**
 * A tokenizer's pre-tokenizer, rewritten to do the same with less. The mapping of bytes that ends a byte-level
 * one is left to be done once per new word instead of on every text. And `Digits`, which the reference takes as
 * Unicode's numeric characters (Nd, Nl and No: ٣, Ⅷ, ①) and the JavaScript library as 0 to 9, is spelled out.
 */
export function splitWords(file: TokenizerFile): WordSplitting {
  const stages = flattenStages(file.pre_tokenizer, 'pretokenizers').map((stage) =>
    stage.type === 'Digits' ? split(stage.individual_digits === true ? '\\p{N}' : '\\p{N}+') : stage,
  )
  const last = stages.at(-1)
  if (last?.type !== 'ByteLevel' || last.add_prefix_space === true)
    return { stage: sequence(stages), mapBytes: false }
  const words = last.use_regex === false ? [] : [split(gpt2Words)]
  return { stage: sequence([...stages.slice(0, -1), ...words]), mapBytes: true }
}

const split = (regex: string): Stage => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior: 'Isolated',
  invert: false,
})

const sequence = (pretokenizers: readonly Stage[]): Stage | null =>
  pretokenizers.length === 0 ? null : { type: 'Sequence', pretokenizers }
