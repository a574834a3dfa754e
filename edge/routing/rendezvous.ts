import type { NodeAddress } from './nodes.ts'

/**
 * Nodes by preference for a key: rendezvous hashing (Thaler and Ravishankar, 1998). Each node's score depends on
 * the key and that node alone, so a node that comes or goes moves only its own share of keys.
 */
export function rankNodes(key: string, nodes: readonly NodeAddress[]): NodeAddress[] {
  return nodes
    .map((node) => ({ node, score: hash32(`${node.id}\n${key}`) }))
    .sort((a, b) => b.score - a.score || (a.node.id < b.node.id ? -1 : 1))
    .map(({ node }) => node)
}

/** FNV-1a over UTF-16 units with MurmurHash3's finalizer, which spreads keys that differ in their last digits. */
function hash32(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
