import type { PutBackboneRequest } from '../api/admin.ts'
import { QuartetError } from '../errors.ts'
import { compileTokenizer } from './compile-tokenizer.ts'

type SentTokenizer = PutBackboneRequest['tokenizer']

const pieceBytes = 3 * 8_192

/** A compiled tokenizer as it is sent to the edge. */
export function toSent(compiled: Uint8Array): SentTokenizer {
  let text = ''
  for (let at = 0; at < compiled.length; at += pieceBytes)
    text += btoa(String.fromCharCode(...compiled.subarray(at, at + pieceBytes)))
  return text
}

/** The compiled tokenizer of a registration; nothing in it is checked yet. Throws `invalid_request`. */
export function fromSent(tokenizer: SentTokenizer): Uint8Array<ArrayBuffer> {
  if (typeof tokenizer !== 'string') return compileTokenizer(tokenizer)
  try {
    const binary = atob(tokenizer)
    const bytes = new Uint8Array(binary.length)
    for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at)
    return bytes
  } catch (cause) {
    throw new QuartetError('invalid_request', 'tokenizer: it is neither a tokenizer.json nor base64', {
      param: 'tokenizer',
      cause,
    })
  }
}
