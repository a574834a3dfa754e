import { createHash } from 'node:crypto'
import { QuartetError } from '../../shared/errors.ts'

export interface RequestBody {
  readonly bytes: Uint8Array
  /** The SHA-256 of `bytes`, hex. */
  readonly sha256: string
}

/** Reads a body whole, never more than `most` bytes of it. Throws `body_too_large` or `client_closed_request`. */
export async function readBody(request: Request, most: number): Promise<RequestBody> {
  const tooLarge = () =>
    new QuartetError('body_too_large', `the body has more than the ${most} bytes that are allowed`)
  if (Number(request.headers.get('content-length') ?? 0) > most) throw tooLarge()
  const hash = createHash('sha256')
  const pieces: Uint8Array[] = []
  let length = 0
  const reader = request.body?.getReader()
  try {
    for (let read = await reader?.read(); read?.value !== undefined; read = await reader?.read()) {
      length += read.value.length
      if (length > most) throw tooLarge()
      hash.update(read.value)
      pieces.push(read.value)
    }
  } catch (cause) {
    if (cause instanceof QuartetError) throw cause
    throw new QuartetError('client_closed_request', 'the client left before the body was whole', { cause })
  } finally {
    reader?.releaseLock()
  }
  return { bytes: Buffer.concat(pieces, length), sha256: hash.digest('hex') }
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Throws `invalid_json`. */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(bytes))
  } catch {
    throw new QuartetError('invalid_json', 'the body is not JSON in UTF-8')
  }
}
