import { QuartetError } from '../errors.ts'
import { issuesOf } from '../issues.ts'
import { fromByteCharacters, toByteCharacters } from './byte-characters.ts'
import { flattenStages, TokenizerFile } from './tokenizer-file.ts'
import { normalizerSteps, promptFrame, refuseTokenizer, wordSplitting } from './tokenizer-stages.ts'
import {
  addedColumns,
  type TokenizerHead,
  type TokenizerTables,
  type WordStage,
  writeTables,
} from './tokenizer-tables.ts'

/**
 * Compiles a `tokenizer.json` (byte-pair encoding) to the tables that `TextCodec` reads. Throws `invalid_request` that
 * names what is not supported.
 */
export function compileTokenizer(json: unknown): Uint8Array<ArrayBuffer> {
  const parsed = TokenizerFile.safeParse(json)
  if (!parsed.success)
    throw new QuartetError('invalid_request', `tokenizer: ${issuesOf(parsed.error)}`, { param: 'tokenizer' })
  return writeTables(tablesOf(parsed.data))
}

function tablesOf(file: TokenizerFile): TokenizerTables {
  const { model } = file
  for (const name of ['dropout', 'continuing_subword_prefix', 'end_of_word_suffix'] as const)
    if (model[name]) refuseTokenizer(`model.${name}`, 'it is not supported; leave it out')
  const splitting = wordSplitting(file)
  const spelling = spellingOf(file, splitting.alphabet)
  const ids = new Map(Object.entries(model.vocab))
  const tokens =
    1 + [...ids.values(), ...file.added_tokens.map(({ id }) => id)].reduce((a, b) => Math.max(a, b), 0)
  const stored = storedTokens(ids, { tokens, mapped: splitting.alphabet === 'bytes' })
  const merges = mergesOf(model.merges, ids)
  const singles = singleTokens(ids, {
    tokens,
    alphabet: splitting.alphabet,
    byteFallback: model.byte_fallback,
  })
  const head: TokenizerHead = {
    counts: {
      tokens,
      sorted: stored.sorted.length,
      merges: merges.length,
      characters: singles.characters.length,
      pool: stored.pool.length,
    },
    normalizer: normalizerSteps(file),
    words: [...splitting.words, ...spaceBoundaries(file, splitting.words)],
    alphabet: splitting.alphabet,
    spelling,
    byteFallback: model.byte_fallback,
    ignoreMerges: model.ignore_merges,
    unknown: typeof model.unk_token === 'string' ? (ids.get(model.unk_token) ?? null) : null,
    fuseUnknown: model.fuse_unk,
    ...promptFrame(file),
    added: addedColumns(file.added_tokens),
  }
  return { head, ...stored, ...mergeTables(merges, tokens), ...singles }
}

/** How a tokenizer writes bytes in its vocabulary, by the decoder stage that reads them. */
function spellingOf(file: TokenizerFile, alphabet: TokenizerHead['alphabet']): TokenizerHead['spelling'] {
  const stages = flattenStages(file.decoder, 'decoders').map(({ type }) => type)
  if (stages.includes('ByteLevel')) return alphabet === 'bytes' ? 'bytes' : 'byte-characters'
  if (!stages.includes('ByteFallback') && !stages.includes('Metaspace'))
    refuseTokenizer(
      'decoder',
      `a tokenizer that decodes by ${stages.join(', ')} is not supported; ByteLevel, ByteFallback and Metaspace are`,
    )
  if (alphabet === 'bytes')
    refuseTokenizer('decoder', 'its pre-tokenizer is ByteLevel, so it must be ByteLevel')
  return 'pieces'
}

type StoredTokens = Pick<TokenizerTables, 'offsets' | 'pool' | 'sorted'>

/** `mapped`: tokens are GPT-2's characters and kept as the bytes that those stand for. */
function storedTokens(
  ids: ReadonlyMap<string, number>,
  { tokens, mapped }: { tokens: number; mapped: boolean },
): StoredTokens {
  const encoder = new TextEncoder()
  const bytes = new Array<Uint8Array | undefined>(tokens)
  const findable: number[] = []
  for (const [text, id] of ids) {
    if (bytes[id] !== undefined) refuseTokenizer('model.vocab', `two tokens have the id ${id}`)
    const plain = mapped ? fromByteCharacters(text) : undefined
    bytes[id] = plain ?? encoder.encode(text)
    if (!mapped || plain !== undefined) findable.push(id)
  }
  const offsets = new Uint32Array(tokens + 1)
  for (let id = 0; id < tokens; id++) offsets[id + 1] = (offsets[id] ?? 0) + (bytes[id]?.length ?? 0)
  const pool = new Uint8Array(offsets[tokens] ?? 0)
  for (const [id, token] of bytes.entries()) if (token !== undefined) pool.set(token, offsets[id])
  const sorted = Uint32Array.from(
    findable.sort((a, b) => compareBytes(bytes[a] ?? noBytes, bytes[b] ?? noBytes)),
  )
  return { offsets, pool, sorted }
}

const noBytes = new Uint8Array()

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length)
  for (let at = 0; at < shared; at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

interface Merge {
  readonly left: number
  readonly right: number
  readonly rank: number
  readonly merged: number
}

function mergesOf(
  merges: TokenizerFile['model']['merges'],
  ids: ReadonlyMap<string, number>,
): readonly Merge[] {
  const idOf = (text: string, rank: number) =>
    ids.get(text) ??
    refuseTokenizer('model.merges', `merge ${rank} has “${text.slice(0, 60)}”, which is no token`)
  const seen = new Map<number, Merge>()
  for (const [rank, merge] of merges.entries()) {
    const [left, right] = typeof merge === 'string' ? halves(merge, rank) : merge
    const pair = { left: idOf(left, rank), right: idOf(right, rank), rank, merged: idOf(left + right, rank) }
    // The last of two equal pairs counts, as in the reference.
    seen.set(pair.left * 2 ** 24 + pair.right, pair)
  }
  return [...seen.values()].sort((a, b) => a.left - b.left || a.right - b.right)
}

function halves(merge: string, rank: number): [string, string] {
  const space = merge.indexOf(' ', 1)
  if (space === -1 || space === merge.length - 1)
    return refuseTokenizer('model.merges', `merge ${rank}, “${merge.slice(0, 60)}”, is not two tokens`)
  return [merge.slice(0, space), merge.slice(space + 1)]
}

function mergeTables(
  merges: readonly Merge[],
  tokens: number,
): Pick<TokenizerTables, 'starts' | 'rights' | 'ranks' | 'merged'> {
  const starts = new Uint32Array(tokens + 1)
  for (const { left } of merges) starts[left + 1] = (starts[left + 1] ?? 0) + 1
  for (let id = 0; id < tokens; id++) starts[id + 1] = (starts[id + 1] ?? 0) + (starts[id] ?? 0)
  return {
    starts,
    rights: Uint32Array.from(merges, ({ right }) => right),
    ranks: Uint32Array.from(merges, ({ rank }) => rank),
    merged: Uint32Array.from(merges, ({ merged }) => merged),
  }
}

type Singles = Pick<TokenizerTables, 'characters' | 'characterIds' | 'byteIds'>

/** The tokens of which words are made before anything is merged. */
function singleTokens(
  ids: ReadonlyMap<string, number>,
  { tokens, alphabet, byteFallback }: Pick<TokenizerHead, 'alphabet' | 'byteFallback'> & { tokens: number },
): Singles {
  const nameOf = (byte: number) =>
    alphabet === 'bytes'
      ? toByteCharacters(Uint8Array.of(byte))
      : `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
  const byteIds = new Uint32Array(256).fill(tokens)
  if (alphabet === 'bytes' || byteFallback)
    for (let byte = 0; byte < 256; byte++) byteIds[byte] = ids.get(nameOf(byte)) ?? tokens
  const single = alphabet === 'bytes' ? [] : [...ids].filter(([text]) => isSingle(text))
  const byCodePoint = single
    .map(([text, id]) => ({ codePoint: text.codePointAt(0) ?? 0, id }))
    .sort((a, b) => a.codePoint - b.codePoint)
  return {
    byteIds,
    characters: Uint32Array.from(byCodePoint, ({ codePoint }) => codePoint),
    characterIds: Uint32Array.from(byCodePoint, ({ id }) => id),
  }
}

const isSingle = (text: string) =>
  text.length === 1 || (text.length === 2 && (text.codePointAt(0) ?? 0) > 0xffff)

const space = '▁'

/**
 * A vocabulary of SentencePiece has a space in front of its tokens and nowhere else, so no merge crosses the place
 * where a run of spaces begins behind other characters. Words that end there can be remembered.
 */
function spaceBoundaries({ model }: TokenizerFile, words: readonly WordStage[]): WordStage[] {
  const crosses = (merge: string | readonly [string, string]) => {
    const text = typeof merge === 'string' ? merge.replace(/(.) /u, '$1') : merge[0] + merge[1]
    return /[^▁]▁/u.test(text)
  }
  const holds =
    words.every(({ type }) => type === 'split') &&
    Object.hasOwn(model.vocab, space) &&
    !model.ignore_merges &&
    !model.merges.some(crosses)
  return holds ? [{ type: 'split', pattern: '▁+[^▁]*|[^▁]+', behavior: 'isolated', invert: false }] : []
}
