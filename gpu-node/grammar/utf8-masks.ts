import type { GrammarVocabulary } from './messages.ts'

/** A place within a UTF-8 sequence (Unicode, table 3-7): how many bytes are left, and the range of the next one. */
interface Place {
  readonly left: number
  readonly from: number
  readonly to: number
}

const border: Place = { left: 0, from: 0, to: 0x7f }
const places: readonly Place[] = [
  border,
  ...[1, 2, 3].map((left) => ({ left, from: 0x80, to: 0xbf })),
  { left: 2, from: 0xa0, to: 0xbf },
  { left: 2, from: 0x80, to: 0x9f },
  { left: 3, from: 0x90, to: 0xbf },
  { left: 3, from: 0x80, to: 0x8f },
]

/** The place behind `byte`; undefined where no UTF-8 has this byte. */
function next({ from, left, to }: Place, byte: number): Place | undefined {
  if (left > 0) return byte < from || byte > to ? undefined : left === 1 ? border : places[left - 1]
  if (byte < 0x80) return border
  if (byte < 0xc2 || byte > 0xf4) return undefined
  if (byte < 0xe0) return places[1]
  if (byte < 0xf0) return byte === 0xe0 ? places[4] : byte === 0xed ? places[5] : places[2]
  return byte === 0xf0 ? places[6] : byte === 0xf4 ? places[7] : places[3]
}

/** Keeps texts to UTF-8: a grammar of xgrammar lets any bytes from 0x80 through where it allows any character. */
export class Utf8Masks {
  readonly #bytes: readonly Uint8Array[]
  readonly #masks = new Map<Place, Int32Array>()

  constructor({ spelling, tokens }: GrammarVocabulary) {
    this.#bytes = tokens.map((token) => bytesOf(token, spelling))
  }

  /** Clears the bits of tokens that no UTF-8 has at this place. */
  narrow(mask: Int32Array, place: Utf8Place): void {
    const valid = this.#mask(place.at)
    for (const [at, word] of valid.entries()) mask[at] = (mask[at] ?? 0) & word
  }

  /** Whether a character begins here. */
  isBorder({ at }: Utf8Place): boolean {
    return at === border
  }

  /** The place behind a token. */
  behind({ at }: Utf8Place, token: number): Utf8Place {
    return { at: this.#run(at, token) ?? border }
  }

  #mask(place: Place): Int32Array {
    const known = this.#masks.get(place)
    if (known !== undefined) return known
    const mask = new Int32Array(Math.ceil(this.#bytes.length / 32))
    for (let id = 0; id < this.#bytes.length; id++) {
      // A stop token has no bytes, and may not cut a character.
      const isStop = this.#bytes[id]?.length === 0
      if (isStop ? place === border : this.#run(place, id) !== undefined)
        mask[id >>> 5] = (mask[id >>> 5] ?? 0) | (1 << (id & 31))
    }
    this.#masks.set(place, mask)
    return mask
  }

  #run(from: Place, token: number): Place | undefined {
    let place: Place | undefined = from
    for (const byte of this.#bytes[token] ?? []) place = place && next(place, byte)
    return place
  }
}

/** Where in a UTF-8 sequence a text ends. */
export interface Utf8Place {
  readonly at: Place
}

export const utf8Start: Utf8Place = { at: border }

const byteOf: ReadonlyMap<string, number> = (() => {
  let unprintable = 0x100
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)
  return new Map(
    Array.from({ length: 256 }, (_, byte) => [
      String.fromCharCode(isPrintable(byte) ? byte : unprintable++),
      byte,
    ]),
  )
})()

function bytesOf(token: string, spelling: GrammarVocabulary['spelling']): Uint8Array {
  if (spelling === 'byte_level') return Uint8Array.from(token, (character) => byteOf.get(character) ?? 0x3f)
  const byte = /^<0x([0-9A-F]{2})>$/i.exec(token)?.[1]
  return byte === undefined
    ? new TextEncoder().encode(token.replaceAll('▁', ' '))
    : Uint8Array.of(Number.parseInt(byte, 16))
}
