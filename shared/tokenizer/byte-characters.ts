/** GPT-2's table: printable Latin-1 bytes stand for themselves, the other 68 for U+0100 and up, in order. */
const characters: readonly string[] = (() => {
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)
  let next = 0x100
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
})()
const bytes: ReadonlyMap<string, number> = new Map(characters.map((character, byte) => [character, byte]))

/** Bytes as GPT-2 writes them in a vocabulary. */
export const toByteCharacters = (text: Uint8Array): string =>
  Array.from(text, (byte) => characters[byte] ?? '').join('')

/** The bytes that a text of GPT-2's characters stands for; undefined for a text with others. */
export function fromByteCharacters(text: string): Uint8Array | undefined {
  const found = Array.from(text, (character) => bytes.get(character) ?? -1)
  return found.includes(-1) ? undefined : Uint8Array.from(found)
}
