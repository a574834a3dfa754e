import { QuartetError } from '../../shared/errors.ts'
import { parseBounded, RefusedJson } from '../../shared/json-depth.ts'
import { parseUniqueNames } from '../../shared/unique-names.ts'
import { maxDroppedBytes } from './unread-body.ts'

export const maxJsonBytes = 1024 * 1024

/**
 * A request's JSON body, which changes what there is: no object of it names something twice. Throws `body_too_large` or
 * `invalid_json`.
 */
export async function readJson(request: Request): Promise<unknown> {
  return parseJson(await readBytes(request, maxJsonBytes), parseUniqueNames)
}

/** A body as JSON, read by `parse`. Throws `invalid_json`. */
export function parseJson(bytes: Uint8Array, parse: (text: string) => unknown = parseBounded): unknown {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes)
  } catch {
    throw new QuartetError('invalid_json', 'the body is not UTF-8')
  }
  try {
    return parse(text)
  } catch (cause) {
    if (cause instanceof RefusedJson)
      throw new QuartetError('invalid_json', `in the body ${cause.message}; ${cause.remedy}`)
    const where = cause instanceof SyntaxError ? position(cause.message) : ''
    throw new QuartetError('invalid_json', `the body is not JSON${where}`)
  }
}

/** V8 quotes the text around the mistake; only its position goes into the answer. */
function position(message: string): string {
  const at = /at position (\d+)/.exec(message)?.[1]
  return at === undefined ? '' : ` (mistake at character ${at})`
}

/** Compressed bodies are refused: their sender would decide how large they become. */
export function requirePlainBody({ headers }: Request): void {
  const encoding = headers.get('content-encoding')?.toLowerCase() ?? 'identity'
  if (encoding === 'identity') return
  throw new QuartetError(
    'unsupported_media_type',
    'the body is compressed (Content-Encoding), which is not supported; send it uncompressed, without that header',
  )
}

/** A request's body. Refused by its announced length before any of it is kept, by its real length while it is read. */
export async function readBytes(request: Request, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  requirePlainBody(request)
  const refuse = (): never => {
    throw new QuartetError('body_too_large', `the body may have at most ${maxBytes} bytes`)
  }
  const announced = request.headers.get('content-length')
  if (Number(announced ?? 0) > Math.max(maxBytes, maxDroppedBytes)) refuse()
  // HTTP holds a body to its announced length, so it can be read in one go.
  if (announced !== null && Number(announced) <= maxBytes) return new Uint8Array(await request.arrayBuffer())
  let kept: Uint8Array[] = []
  let length = 0
  for await (const chunk of request.body ?? []) {
    length += chunk.length
    if (length > Math.max(maxBytes, maxDroppedBytes)) refuse()
    if (length > maxBytes) kept = []
    else kept.push(chunk)
  }
  if (length > maxBytes) refuse()
  const body = new Uint8Array(length)
  let at = 0
  for (const chunk of kept) {
    body.set(chunk, at)
    at += chunk.length
  }
  return body
}
