interface Named {
  readonly id: string
}

/**
 * How much a key prefers a node, 0 to 2³² − 1: rendezvous hashing (Thaler and Ravishankar, 1998). A score depends on the
 * key and that node alone, so a node that comes or goes moves only its own share of keys. The key is hashed once for all
 * nodes.
 */
export function scorer(key: string): (node: Named) => number {
  const keyHash = hash32(key)
  return ({ id }) => finalize(keyHash ^ hash32(id))
}

/** FNV-1a over UTF-16 units, finalized: 0 to 2³² − 1. */
function hash32(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return finalize(hash)
}

/** MurmurHash3's finalizer, which spreads inputs that differ in a few bits. */
function finalize(bits: number): number {
  let hash = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
