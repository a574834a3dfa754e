import type { Tokenizer } from '@huggingface/tokenizers'
import { QuartetError } from '../errors.ts'
import { type AddedToken, flattenStages, type TokenizerFile } from './tokenizer-file.ts'

const noBytes = new Uint8Array()

/** What each token id stands for, in bytes: a token may end in the middle of a UTF-8 sequence. */
export class Vocabulary {
  readonly size: number
  readonly #tokenizer: Tokenizer
  readonly #added: ReadonlyMap<number, AddedToken>
  readonly #spell: (token: string) => Uint8Array
  readonly #bytes = new Map<number, Uint8Array>()

  constructor(tokenizer: Tokenizer, file: TokenizerFile) {
    this.#tokenizer = tokenizer
    this.#added = new Map(file.added_tokens.map((token) => [token.id, token]))
    this.#spell = spellingOf(file)
    this.size = tokenizer.model?.vocab.length ?? 0
  }

  has(id: number): boolean {
    return id < this.size
  }

  /** The text a token adds to an answer; a special token adds none. */
  bytes(id: number): Uint8Array {
    return this.#added.get(id)?.special === true ? noBytes : this.spelling(id)
  }

  /** The token's own bytes, a special token's name included. */
  spelling(id: number): Uint8Array {
    const known = this.#bytes.get(id)
    if (known !== undefined) return known
    const added = this.#added.get(id)
    const token = this.#tokenizer.id_to_token(id)
    const bytes =
      added !== undefined
        ? new TextEncoder().encode(added.content)
        : token === undefined
          ? noBytes
          : this.#spell(token)
    this.#bytes.set(id, bytes)
    return bytes
  }
}

/** How a tokenizer writes bytes in its vocabulary, by the decoder stage that reads them. */
const spellings: Readonly<Record<string, (token: string) => Uint8Array>> = {
  ByteLevel: (token) => Uint8Array.from(token, (character) => byteOf.get(character) ?? 0x3f),
  ByteFallback: (token) => {
    const byte = /^<0x([0-9A-F]{2})>$/i.exec(token)?.[1]
    return byte === undefined
      ? new TextEncoder().encode(token.replaceAll('▁', ' '))
      : Uint8Array.of(Number.parseInt(byte, 16))
  },
}

function spellingOf(file: TokenizerFile): (token: string) => Uint8Array {
  const stages = flattenStages(file.decoder, 'decoders').map(({ type }) => type)
  const spelling = stages.map((type) => spellings[type]).find((found) => found !== undefined)
  if (spelling !== undefined) return spelling
  throw new QuartetError(
    'invalid_request',
    `a tokenizer that decodes by ${stages.join(', ')} is not supported; ${Object.keys(spellings).join(' and ')} are`,
    { param: 'tokenizer.decoder' },
  )
}

/** GPT-2's table: printable Latin-1 bytes stand for themselves, the other 68 for U+0100 and up, in order. */
const byteOf: ReadonlyMap<string, number> = (() => {
  const table = new Map<string, number>()
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)
  for (let byte = 0, next = 0x100; byte < 256; byte++)
    table.set(String.fromCharCode(printable(byte) ? byte : next++), byte)
  return table
})()
