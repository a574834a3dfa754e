import { QuartetError } from '../../shared/errors.ts'

/**
 * A tenant's key: `qk_`, 32 random base62 characters (190 bits) and the CRC-32 of all that in six more. The
 * checksum refuses a mistyped or guessed key without a look-up; it proves nothing else.
 */

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const prefix = 'qk_'
const bodyLength = 32
const checksumLength = 6
const shape = new RegExp(`^${prefix}[0-9A-Za-z]{${bodyLength + checksumLength}}$`)

export function mintApiKey(): string {
  const payload = prefix + randomBase62(bodyLength)
  return payload + checksum(payload)
}

/** The key itself. Throws `invalid_api_key` unless it is well formed. */
export function checkApiKey(key: string): string {
  const payload = key.slice(0, -checksumLength)
  if (!shape.test(key) || checksum(payload) !== key.slice(-checksumLength))
    throw new QuartetError(
      'invalid_api_key',
      `the API key is malformed: a key is ${prefix} and ${bodyLength + checksumLength} letters and digits; check that it was copied whole`,
    )
  return key
}

function randomBase62(length: number): string {
  let text = ''
  while (text.length < length)
    for (const byte of crypto.getRandomValues(new Uint8Array(length)))
      if (byte < 4 * alphabet.length && text.length < length) text += alphabet.charAt(byte % alphabet.length)
  return text
}

function checksum(payload: string): string {
  let text = ''
  for (let rest = crc32(payload), at = 0; at < checksumLength; at++) {
    text = alphabet.charAt(rest % alphabet.length) + text
    rest = Math.floor(rest / alphabet.length)
  }
  return text
}

/** CRC-32 of each byte (ISO 3309, reflected polynomial 0xEDB88320). */
const crcOf = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0)
  return crc
})

/** CRC-32 of ASCII text. */
function crc32(text: string): number {
  let crc = 0xffffffff
  for (let at = 0; at < text.length; at++)
    crc = (crc >>> 8) ^ (crcOf[(crc ^ text.charCodeAt(at)) & 0xff] ?? 0)
  return (crc ^ 0xffffffff) >>> 0
}
