import { readFileSync } from 'node:fs'
import { sha256Hex } from '../shared/digest.ts'
import { TextCodec } from '../shared/tokenizer/text-codec.ts'
import { readTables } from '../shared/tokenizer/tokenizer-tables.ts'

/** Maps one compiled tokenizer, as an isolate that has not had it does, and tells what that took. */

const [, , path = ''] = process.argv
const memory = () => {
  globalThis.gc?.()
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return arrayBuffers + heapUsed
}
// The runtime allocates memory at its first hash. That memory is no part of a tokenizer.
await sha256Hex(new Uint8Array(1024))
const before = memory()
const bytes = new Uint8Array(readFileSync(path))
const start = process.cpuUsage()
await sha256Hex(bytes)
const codec = new TextCodec(readTables(bytes))
codec.encodePrompt('Where is my parcel?', { tokens: 1000, param: 'prompt' })
const { system, user } = process.cpuUsage(start)
const megabytes = (memory() - before) / 1e6
process.send?.({ cpuMs: (system + user) / 1000, megabytes, tokens: codec.vocabulary.size })
process.disconnect?.()
