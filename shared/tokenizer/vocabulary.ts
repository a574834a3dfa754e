import { fromByteCharacters } from './byte-characters.ts'
import { isSpecialAt, type TokenizerTables } from './tokenizer-tables.ts'

const noBytes = new Uint8Array()

/** The bytes that each token id stands for: a token may end in the middle of a UTF-8 sequence. */
export class Vocabulary {
  readonly size: number
  readonly #tables: Pick<TokenizerTables, 'head' | 'offsets' | 'pool' | 'sorted'>
  /** Places of the added tokens by their ids, made when the first is asked for. */
  #added: ReadonlyMap<number, number> | undefined
  readonly #spell: (stored: Uint8Array) => Uint8Array

  constructor(tables: TokenizerTables) {
    const { head } = tables
    this.#tables = tables
    this.#spell = spellings[head.spelling]
    this.size = head.counts.tokens
  }

  has(id: number): boolean {
    return id < this.size
  }

  /** The text a token adds to an answer; a special token adds none. */
  bytes(id: number): Uint8Array {
    const place = this.#placeOf(id)
    return place !== undefined && isSpecialAt(this.#tables.head, place) ? noBytes : this.spelling(id)
  }

  /** The token's own bytes, a special token's name included. */
  spelling(id: number): Uint8Array {
    const place = this.#placeOf(id)
    const content = place === undefined ? undefined : this.#tables.head.added.contents[place]
    return content === undefined ? this.#spell(this.#stored(id)) : new TextEncoder().encode(content)
  }

  #placeOf(id: number): number | undefined {
    this.#added ??= new Map(this.#tables.head.added.ids.map((id, place) => [id, place]))
    return this.#added.get(id)
  }

  /** The same as text; bytes that are no UTF-8 read U+FFFD. */
  spelledText(id: number): string {
    return text(this.spelling(id))
  }

  /** Text of ids, without special tokens; bytes that are no UTF-8 read U+FFFD. */
  text(ids: readonly number[]): string {
    const parts = ids.map((id) => this.bytes(id))
    const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
    let at = 0
    for (const part of parts) {
      whole.set(part, at)
      at += part.length
    }
    return text(whole)
  }

  /** The token of the vocabulary that is stored as these bytes. */
  find(stored: Uint8Array): number | undefined {
    const { sorted } = this.#tables
    let from = 0
    let to = sorted.length
    while (from < to) {
      const middle = (from + to) >> 1
      const id = sorted[middle] ?? 0
      const order = this.#compare(id, stored)
      if (order === 0) return id
      if (order < 0) from = middle + 1
      else to = middle
    }
    return undefined
  }

  #stored(id: number): Uint8Array {
    const { offsets, pool } = this.#tables
    return pool.subarray(offsets[id] ?? pool.length, offsets[id + 1] ?? pool.length)
  }

  #compare(id: number, other: Uint8Array): number {
    const { offsets, pool } = this.#tables
    const from = offsets[id] ?? 0
    const length = (offsets[id + 1] ?? from) - from
    const shared = Math.min(length, other.length)
    for (let at = 0; at < shared; at++) {
      const difference = (pool[from + at] ?? 0) - (other[at] ?? 0)
      if (difference !== 0) return difference
    }
    return length - other.length
  }
}

/** A leading byte order mark stays. */
const text = (stored: Uint8Array) =>
  new TextDecoder('utf-8', { fatal: false, ignoreBOM: true }).decode(stored)

const spellings = {
  bytes: (stored: Uint8Array) => stored,
  'byte-characters': (stored: Uint8Array) => fromByteCharacters(text(stored)) ?? stored,
  pieces: (stored: Uint8Array) => {
    const piece = text(stored)
    const byte = /^<0x([0-9A-F]{2})>$/i.exec(piece)?.[1]
    return byte === undefined
      ? new TextEncoder().encode(piece.replaceAll('▁', ' '))
      : Uint8Array.of(Number.parseInt(byte, 16))
  },
} as const
