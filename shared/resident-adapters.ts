import type { AdapterDigest } from './ids.ts'

/**
 * Which adapters a node holds, compactly: the first six bytes of each digest, which are eight characters of base64, one
 * after the other. Two of a million adapters share a prefix with probability 0.2 %; then a node is asked in vain and is
 * brought the adapter.
 */
const prefixHexDigits = 12
const prefixLength = 8

/** The part of a digest that stands for it in the list. */
export function residentPrefix(digest: AdapterDigest): string {
  let bytes = ''
  for (let at = 0; at < prefixHexDigits; at += 2)
    bytes += String.fromCharCode(Number.parseInt(digest.slice(at, at + 2), 16))
  return btoa(bytes)
}

export function encodeResident(digests: Iterable<AdapterDigest>): string {
  return [...digests].map(residentPrefix).join('')
}

export function decodeResident(resident: string): ReadonlySet<string> {
  const prefixes = new Set<string>()
  for (let at = 0; at + prefixLength <= resident.length; at += prefixLength)
    prefixes.add(resident.slice(at, at + prefixLength))
  return prefixes
}

/** How many adapters a list holds. */
export const residentCount = (resident: string): number => Math.floor(resident.length / prefixLength)
