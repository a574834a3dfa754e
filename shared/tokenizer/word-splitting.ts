import { type PreTokenizer, SequencePreTokenizer, SplitPreTokenizer } from '@huggingface/tokenizers'
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

/** Stages as the library runs them, one after the other. */
export function stagesOf(preTokenizer: PreTokenizer | null): readonly PreTokenizer[] {
  if (preTokenizer === null) return []
  if (!(preTokenizer instanceof SequencePreTokenizer)) return [preTokenizer]
  return preTokenizer.tokenizers.filter((stage) => stage !== null)
}

/**
 * A text's words, each found when it is asked for: whoever has enough of them pays for no more. `section` is the text's
 * place in the whole text, which some stages heed.
 */
export function* wordsOf(
  text: string,
  { at = 0, section, stages }: { stages: readonly PreTokenizer[]; section: number; at?: number },
): Generator<string, void> {
  const stage = stages[at]
  if (stage === undefined) return yield text
  const pieces = isolates(stage)
    ? isolated(text, stage.pattern)
    : stage.pre_tokenize(text, { section_index: section })
  if (at === stages.length - 1) return yield* pieces
  for (const piece of pieces) yield* wordsOf(piece, { stages, section, at: at + 1 })
}

/** Whether it splits as `isolated` does: in the library, unless it is told to drop what it matches or what it does not. */
const isolates = (stage: PreTokenizer): stage is SplitPreTokenizer & { readonly pattern: RegExp } =>
  stage instanceof SplitPreTokenizer &&
  stage.pattern !== null &&
  stage.config.invert !== true &&
  stage.config.behavior?.toLowerCase() !== 'removed'

/** What the pattern matches, and what lies between. */
function* isolated(text: string, pattern: RegExp): Generator<string, void> {
  let from = 0
  for (const { 0: match, index } of text.matchAll(pattern)) {
    if (from < index) yield text.slice(from, index)
    if (match !== '') yield match
    from = index + match.length
  }
  if (from < text.length) yield text.slice(from)
}
