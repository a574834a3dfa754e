import type { GgufMetadata } from '../../model/import/gguf-header.ts'
import { flattenStages, type TokenizerFile } from '../../shared/tokenizer/tokenizer-file.ts'
import { promptFrame } from '../../shared/tokenizer/tokenizer-stages.ts'
import type { RealVocabulary } from './vocabularies.ts'

const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const
const unstated = -1000

/** A tokenizer.json as llama.cpp's converter writes it to a GGUF file: without merges where SentencePiece made it. */
export function asGguf(file: TokenizerFile, { gguf: { model, pre } }: RealVocabulary): GgufMetadata {
  const { added_tokens, model: bpe } = file
  const pieces = model === 'llama'
  const ids = [...Object.values(bpe.vocab), ...added_tokens.map(({ id }) => id)]
  const size = ids.reduce((most, id) => Math.max(most, id), 0) + 1
  const tokens = Array.from({ length: size }, (_, id) => `[PAD${id}]`)
  const types = new Array<number>(size).fill(tokenTypes.unused)
  const scores = new Array<number>(size).fill(unstated)
  for (const [text, id] of Object.entries(bpe.vocab)) {
    tokens[id] = text
    types[id] = pieces && /^<0x[0-9A-F]{2}>$/.test(text) ? tokenTypes.byte : tokenTypes.normal
    scores[id] = -10_000_000
  }
  for (const { content, id, special } of added_tokens) {
    // The converter writes the spaces of these as spaces.
    tokens[id] = pieces && !special ? content.replaceAll('▁', ' ') : content
    types[id] = !special
      ? tokenTypes.userDefined
      : content === bpe.unk_token
        ? tokenTypes.unknown
        : tokenTypes.control
    scores[id] = unstated
  }
  const merges = bpe.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' ')))
  let score = 0
  for (const merge of pieces ? merges : []) {
    const id = bpe.vocab[merge.replace(' ', '')]
    if (id !== undefined && types[id] === tokenTypes.normal && scores[id] === -10_000_000)
      scores[id] = score--
  }
  const [begin] = promptFrame(file).before
  const unknown = typeof bpe.unk_token === 'string' ? bpe.vocab[bpe.unk_token] : undefined
  const prepends = flattenStages(file.normalizer, 'normalizers').some(({ type }) => type === 'Prepend')
  return {
    'tokenizer.ggml.model': model,
    'tokenizer.ggml.pre': pre,
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': types,
    'tokenizer.ggml.add_bos_token': begin !== undefined,
    ...(begin === undefined ? {} : { 'tokenizer.ggml.bos_token_id': begin }),
    ...(unknown === undefined ? {} : { 'tokenizer.ggml.unknown_token_id': unknown }),
    ...(pieces
      ? { 'tokenizer.ggml.scores': scores, 'tokenizer.ggml.add_space_prefix': prepends }
      : { 'tokenizer.ggml.merges': merges }),
  }
}
