import { z } from 'zod'
import { QuartetError } from '../errors.ts'
import { issuesOf } from '../issues.ts'
import { searchOrder } from './token-finder.ts'
import type { AddedToken } from './tokenizer-file.ts'

/**
 * A tokenizer compiled for use as it lies in memory (compile-tokenizer.ts writes it). Little-endian:
 *
 *     u32 magic, u32 version, u32 bytes of the head, u32 zero
 *     the head: JSON (`TokenizerHead`), spaces up to a multiple of 8 bytes
 *     u32 offsets[tokens + 1]     where each token's bytes begin in the pool; none for ids that stand for nothing
 *     u32 starts[tokens + 1]      where each left half's merges begin in rights, merged and ranks
 *     u32 sorted[sorted]          ids of the vocabulary by their bytes
 *     u32 rights[merges]          ascending for each left half
 *     u32 merged[merges]          the token that both halves become
 *     u32 characterIds[characters]
 *     u32 byteIds[256]            tokens of single bytes; `tokens` where there is none
 *     u32 ranks[merges]           the lowest is merged first
 *     u32 characters[characters]  code points that are tokens, ascending; none for an alphabet of bytes
 *     u8  pool[pool]
 */

const magic = 0x4b545451
const version = 1
const prefixBytes = 16

const Pattern = z.object({
  /** JavaScript's, for the flags `gu`. */
  pattern: z.string(),
  behavior: z.enum(['isolated', 'removed', 'merged-with-previous', 'merged-with-next', 'contiguous']),
  /** The text between the pattern's matches takes the place of the matches. */
  invert: z.boolean(),
})
export const WordStage = z.discriminatedUnion('type', [
  Pattern.extend({ type: z.literal('split') }),
  z.object({
    type: z.literal('metaspace'),
    space: z.string().min(1),
    prepend: z.enum(['always', 'first', 'never']),
    split: z.boolean(),
  }),
  z.object({ type: z.literal('prefix-space') }),
  /** The text's bytes as GPT-2's characters. */
  z.object({ type: z.literal('byte-characters') }),
])
export type WordStage = z.infer<typeof WordStage>

export const NormalizerStep = z.discriminatedUnion('type', [
  z.object({ type: z.literal('unicode'), form: z.enum(['NFC', 'NFD', 'NFKC', 'NFKD']) }),
  z.object({ type: z.literal('lowercase') }),
  z.object({ type: z.literal('prepend'), text: z.string() }),
  z.object({ type: z.literal('replace'), pattern: z.string(), content: z.string() }),
])
export type NormalizerStep = z.infer<typeof NormalizerStep>

const id = z.int().min(0)
const count = z.int().min(0).max(8_000_000)

const maxAdded = 200_000

/**
 * Thousands of values that an isolate checks before it can answer: by a plain loop, twenty times as fast as a schema.
 */
function column<T extends string | number>(isValue: (value: unknown) => boolean) {
  return z.custom<readonly T[]>(
    (values) => Array.isArray(values) && values.length <= maxAdded && values.every(isValue),
    'must be a list of its values',
  )
}

const isWholeNumber = (value: unknown, most: number): boolean =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= most

export const TokenizerHead = z.strictObject({
  counts: z.strictObject({
    tokens: count.min(1),
    sorted: count,
    merges: count,
    characters: count,
    pool: z
      .int()
      .min(0)
      .max(256 * 1024 * 1024),
  }),
  normalizer: z.array(NormalizerStep).max(64),
  words: z.array(WordStage).max(64),
  /** The tokens of which words are made before anything is merged. */
  alphabet: z.enum(['bytes', 'characters']),
  /** How a token's bytes in the pool are read: as they are, as GPT-2's characters, or as pieces of SentencePiece. */
  spelling: z.enum(['bytes', 'byte-characters', 'pieces']),
  byteFallback: z.boolean(),
  /** A word that is a token is not merged from its parts. */
  ignoreMerges: z.boolean(),
  unknown: id.nullable(),
  fuseUnknown: z.boolean(),
  /** The tokens put in front of a whole prompt, and behind it. */
  before: z.array(id).max(64),
  after: z.array(id).max(64),
  /** The added tokens, column by column, as a vocabulary may have thousands. */
  added: z
    .strictObject({
      ids: column<number>((value) => isWholeNumber(value, Number.MAX_SAFE_INTEGER)),
      contents: column<string>((value) => typeof value === 'string' && value !== ''),
      /** Sums of `flags`. */
      flags: column<number>((value) => isWholeNumber(value, 31)),
    })
    .refine(({ contents, flags, ids }) => contents.length === ids.length && flags.length === ids.length),
})
export type TokenizerHead = z.infer<typeof TokenizerHead>

const flags = { special: 1, lstrip: 2, rstrip: 4, single_word: 8, normalized: 16 } as const
const flagNames = ['special', 'lstrip', 'rstrip', 'single_word', 'normalized'] as const

/** The columns of added tokens, in the order in which `TokenFinder` searches, so that an isolate need not sort. */
export function addedColumns(unordered: readonly AddedToken[]): TokenizerHead['added'] {
  const tokens = searchOrder(unordered.map(({ content }) => content)).flatMap(
    (place) => unordered[place] ?? [],
  )
  return {
    ids: tokens.map(({ id }) => id),
    contents: tokens.map(({ content }) => content),
    flags: tokens.map((token) => flagNames.reduce((sum, name) => sum + (token[name] ? flags[name] : 0), 0)),
  }
}

export const addedTokens = (head: TokenizerHead): AddedToken[] =>
  head.added.ids.map((_, place) => addedToken(head, place))

/** The added token at this place of the columns. */
export function addedToken({ added }: TokenizerHead, place: number): AddedToken {
  const sum = added.flags[place] ?? 0
  return {
    id: added.ids[place] ?? 0,
    content: added.contents[place] ?? '',
    special: (sum & flags.special) !== 0,
    lstrip: (sum & flags.lstrip) !== 0,
    rstrip: (sum & flags.rstrip) !== 0,
    single_word: (sum & flags.single_word) !== 0,
    normalized: (sum & flags.normalized) !== 0,
  }
}

/** Whether the token at this place is special. */
export const isSpecialAt = ({ added }: TokenizerHead, place: number): boolean =>
  ((added.flags[place] ?? 0) & flags.special) !== 0

/** Whether the token at this place is looked for in normalised text alone; a special one is not, so that protected text stays so. */
export const isFoundNormalizedAt = ({ added }: TokenizerHead, place: number): boolean =>
  ((added.flags[place] ?? 0) & (flags.special | flags.normalized)) === flags.normalized

export interface TokenizerTables {
  readonly head: TokenizerHead
  readonly offsets: Uint32Array
  readonly sorted: Uint32Array
  readonly starts: Uint32Array
  readonly rights: Uint32Array
  readonly ranks: Uint32Array
  readonly merged: Uint32Array
  readonly characters: Uint32Array
  readonly characterIds: Uint32Array
  readonly byteIds: Uint32Array
  readonly pool: Uint8Array
}

/** The arrays of numbers in order, with their lengths. */
const layout = ({ counts: { tokens, sorted, merges, characters } }: TokenizerHead) =>
  ({
    offsets: tokens + 1,
    starts: tokens + 1,
    sorted,
    rights: merges,
    merged: merges,
    characterIds: characters,
    byteIds: 256,
    ranks: merges,
    characters,
  }) as const

type Numbers = keyof ReturnType<typeof layout>
const idsInOrder = ['sorted', 'rights', 'merged', 'characterIds', 'byteIds'] as const
const numbersInOrder: readonly Numbers[] = ['offsets', 'starts', ...idsInOrder, 'ranks', 'characters']

/** Whether it is one that this Quartet reads. */
export function isCompiledTokenizer(bytes: Uint8Array): boolean {
  if (bytes.length < prefixBytes) return false
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return view.getUint32(0, true) === magic && view.getUint32(4, true) === version
}

export function writeTables(tables: TokenizerTables): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(JSON.stringify(tables.head))
  const headBytes = Math.ceil(json.length / 8) * 8
  const numbers = numbersInOrder.map((name) => tables[name])
  const numberBytes = numbers.reduce((sum, { byteLength }) => sum + byteLength, 0)
  const bytes = new Uint8Array(prefixBytes + headBytes + numberBytes + tables.pool.length)
  new Uint32Array(bytes.buffer, 0, 4).set([magic, version, headBytes, 0])
  bytes.fill(0x20, prefixBytes, prefixBytes + headBytes)
  bytes.set(json, prefixBytes)
  let at = prefixBytes + headBytes
  for (const { buffer, byteOffset, byteLength } of [...numbers, tables.pool]) {
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), at)
    at += byteLength
  }
  return bytes
}

/**
 * The tables of a compiled tokenizer, as views of `bytes`, its head and its lengths checked. Throws `invalid_request`
 * for what is damaged or of another version.
 */
export function readTables(bytes: Uint8Array): TokenizerTables {
  if (!isCompiledTokenizer(bytes)) throw damaged(`it is no compiled tokenizer of version ${version}`)
  // Numbers are read in place, so they must lie at multiples of four.
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  const headBytes = new Uint32Array(buffer, byteOffset, 4)[2] ?? 0
  if (headBytes % 8 !== 0 || prefixBytes + headBytes > byteLength) throw damaged('its head is cut off')
  const head = parseHead(new Uint8Array(buffer, byteOffset + prefixBytes, headBytes))
  const lengths = layout(head)
  let at = byteOffset + prefixBytes + headBytes
  const needed = numbersInOrder.reduce((sum, name) => sum + 4 * lengths[name], head.counts.pool)
  if (at - byteOffset + needed !== byteLength)
    throw damaged(`it has ${byteLength} bytes and its head means ${at - byteOffset + needed}`)
  const next = (name: Numbers) => {
    const view = new Uint32Array(buffer, at, lengths[name])
    at += view.byteLength
    return view
  }
  return {
    head,
    offsets: next('offsets'),
    starts: next('starts'),
    sorted: next('sorted'),
    rights: next('rights'),
    merged: next('merged'),
    characterIds: next('characterIds'),
    byteIds: next('byteIds'),
    ranks: next('ranks'),
    characters: next('characters'),
    pool: new Uint8Array(buffer, at, head.counts.pool),
  }
}

function parseHead(json: Uint8Array): TokenizerHead {
  try {
    // Read once by a process: a parser compiled for it would cost more than it saves.
    return TokenizerHead.parse(
      JSON.parse(new TextDecoder('utf-8', { fatal: false, ignoreBOM: true }).decode(json)),
      { jitless: true },
    )
  } catch (cause) {
    throw damaged(cause instanceof z.ZodError ? issuesOf(cause) : 'its head is not JSON', cause)
  }
}

/**
 * Checks every offset and id of tables from outside. Tables with a known hash need no check. Throws `invalid_request`.
 */
export function checkTables(tables: TokenizerTables): TokenizerTables {
  const { head } = tables
  const { tokens, merges, pool } = head.counts
  if (!climbs(tables.offsets, pool)) throw damaged('its tokens do not lie in order')
  if (!climbs(tables.starts, merges)) throw damaged('its merges do not lie in order')
  for (const name of idsInOrder)
    if (largest(tables[name]) > (name === 'byteIds' ? tokens : tokens - 1))
      throw damaged('it names a token that it lacks')
  const stated = [head.unknown ?? 0, ...head.before, ...head.after, ...head.added.ids]
  if (!stated.every((id) => id < tokens)) throw damaged('its head names a token that it lacks')
  return tables
}

/** Whether the numbers go from 0 to `end` and never down. */
function climbs(numbers: Uint32Array, end: number): boolean {
  let last = 0
  for (let at = 0; at < numbers.length; at++) {
    const number = numbers[at] ?? 0
    if (number < last) return false
    last = number
  }
  return numbers[0] === 0 && last === end
}

function largest(numbers: Uint32Array): number {
  let most = 0
  for (let at = 0; at < numbers.length; at++) {
    const number = numbers[at] ?? 0
    if (number > most) most = number
  }
  return most
}

function damaged(why: string, cause?: unknown): QuartetError {
  return new QuartetError('invalid_request', `the compiled tokenizer cannot be used: ${why}`, {
    param: 'tokenizer',
    cause,
  })
}
