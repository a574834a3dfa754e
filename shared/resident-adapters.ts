import type { AdapterKey } from './ids.ts'

/**
 * A compact list of the adapters that a node holds, and for whom: six bytes of each, which are eight characters of
 * base64, one after the other. They are the first bytes of the digest, mixed with its tenant, so that a tenant with the
 * same file learns nothing of another's. Two of a million adapters share them with probability 0.2 %; then a node is
 * asked in vain and is brought the adapter.
 */
const prefixBytes = 6
const prefixLength = 8

/** The part of a tenant's adapter that stands for it in the list. */
export function residentPrefix(key: AdapterKey): string {
  const slash = key.indexOf('/')
  const hash = hash64(key.slice(0, slash))
  let bytes = ''
  for (let at = 0; at < prefixBytes; at++) {
    const from = slash + 1 + 2 * at
    const word = hash[at >> 2] ?? 0
    const mixed = Number.parseInt(key.slice(from, from + 2), 16) ^ ((word >>> (8 * (at & 3))) & 0xff)
    bytes += String.fromCharCode(mixed)
  }
  return btoa(bytes)
}

/** Two words of 32 bits: FNV-1a from two starts, each finished as in MurmurHash3. */
function hash64(text: string): readonly [number, number] {
  let [a, b] = [0x811c9dc5, 0x9e3779b9]
  for (let at = 0; at < text.length; at++) {
    a = Math.imul(a ^ text.charCodeAt(at), 0x01000193)
    b = Math.imul(b ^ text.charCodeAt(at), 0x85ebca6b)
  }
  return [finalize(a), finalize(b)]
}

function finalize(bits: number): number {
  let hash = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

export function encodeResident(keys: Iterable<AdapterKey>): string {
  return [...keys].map(residentPrefix).join('')
}

export function decodeResident(resident: string): ReadonlySet<string> {
  const prefixes = new Set<string>()
  for (let at = 0; at + prefixLength <= resident.length; at += prefixLength)
    prefixes.add(resident.slice(at, at + prefixLength))
  return prefixes
}

/** How many adapters a list holds. */
export const residentCount = (resident: string): number => Math.floor(resident.length / prefixLength)
