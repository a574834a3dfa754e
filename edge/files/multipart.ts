import { QuartetError } from '../../shared/errors.ts'

/** One field or file of a form. Its bytes are read to their end, or not at all, before the next part is asked for. */
export interface FormPart {
  readonly name: string
  /** Only of a file. */
  readonly filename: string | undefined
  readonly bytes: AsyncGenerator<Uint8Array, void>
}

const maxHeadBytes = 8 * 1024
const lineEnd = [13, 10]

/** The boundary that a form's Content-Type names. Throws `unsupported_media_type`. */
export function boundaryOf(contentType: string | null): string {
  const boundary = /^multipart\/form-data\s*;.*?\bboundary=(?:"([^"]{1,70})"|([^\s;]{1,70}))/i.exec(
    contentType ?? '',
  )
  const found = boundary?.[1] ?? boundary?.[2]
  if (found !== undefined) return found
  throw new QuartetError('unsupported_media_type', 'send a form (multipart/form-data) with purpose and file')
}

/**
 * Reads a form (RFC 7578) as it arrives, with no more than one chunk and one boundary of it in memory. Throws
 * `invalid_request` for a form that is malformed or cut off, and what reading `body` throws.
 */
export async function* readForm(
  body: AsyncIterable<Uint8Array>,
  boundary: string,
): AsyncGenerator<FormPart, void> {
  const input = new Input(body)
  const delimiter = new TextEncoder().encode(`\r\n--${boundary}`)
  // The first delimiter may open the body without a line end in front of it.
  input.unread(Uint8Array.from(lineEnd))
  for await (const _ of input.until(delimiter)) {
    // Text in front of the first part has no meaning.
  }
  while (await input.hasPart()) {
    const head = new TextDecoder().decode(await input.head())
    const disposition = /^content-disposition:\s*form-data\s*;(.*)$/im.exec(head)?.[1]
    const name = parameter(disposition, 'name')
    if (name === undefined) throw malformed('a part has no name')
    const bytes = input.until(delimiter)
    yield { name, filename: parameter(disposition, 'filename'), bytes }
    for await (const _ of bytes) {
      // A part that its reader left alone is skipped.
    }
  }
}

function parameter(disposition: string | undefined, name: string): string | undefined {
  return new RegExp(`(?:^|;)\\s*${name}="((?:[^"\\\\]|\\\\.)*)"`, 'i')
    .exec(disposition ?? '')?.[1]
    ?.replaceAll(/\\(["\\])|%22/g, (_, escaped: string | undefined) => escaped ?? '"')
}

const malformed = (why: string) =>
  new QuartetError('invalid_request', `the form is malformed: ${why}; send it with an ordinary HTTP client`)

/** Bytes that arrive, read up to a mark. */
class Input {
  readonly #source: AsyncIterator<Uint8Array>
  #held: Uint8Array = new Uint8Array(0)

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  unread(bytes: Uint8Array): void {
    this.#held = joined(bytes, this.#held)
  }

  /** The bytes in front of `mark`, which is dropped. */
  async *until(mark: Uint8Array): AsyncGenerator<Uint8Array, void> {
    for (;;) {
      const at = find(this.#held, mark)
      if (at >= 0) {
        const before = this.#held.subarray(0, at)
        this.#held = this.#held.subarray(at + mark.length)
        if (before.length > 0) yield before
        return
      }
      // The mark's beginning may be the end of what is held.
      const sure = Math.max(0, this.#held.length - mark.length + 1)
      const before = this.#held.subarray(0, sure)
      this.#held = this.#held.subarray(sure)
      if (before.length > 0) yield before
      await this.#more()
    }
  }

  /** Whether another part follows the delimiter that was just read. */
  async hasPart(): Promise<boolean> {
    while (this.#held.length < 2) await this.#more()
    const [a, b] = this.#held
    if (a === 45 && b === 45) return false
    // Blanks may follow a delimiter on its line.
    const end = await this.#find(Uint8Array.from(lineEnd), 128)
    this.#held = this.#held.subarray(end)
    return true
  }

  /** A part's headers, up to the empty line. */
  async head(): Promise<Uint8Array> {
    const end = await this.#find(Uint8Array.from([...lineEnd, ...lineEnd]), maxHeadBytes)
    const head = this.#held.subarray(2, end)
    this.#held = this.#held.subarray(end + 4)
    return head
  }

  async #find(mark: Uint8Array, most: number): Promise<number> {
    for (;;) {
      const at = find(this.#held, mark)
      if (at >= 0 && at <= most) return at
      if (this.#held.length > most) throw malformed('a header is too long')
      await this.#more()
    }
  }

  async #more(): Promise<void> {
    const { done, value } = await this.#source.next()
    if (done === true) throw malformed('it ends before its last boundary')
    this.#held = joined(this.#held, value)
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b
  const both = new Uint8Array(a.length + b.length)
  both.set(a)
  both.set(b, a.length)
  return both
}

function find(bytes: Uint8Array, mark: Uint8Array): number {
  const [first = 0] = mark
  for (
    let at = bytes.indexOf(first);
    at >= 0 && at + mark.length <= bytes.length;
    at = bytes.indexOf(first, at + 1)
  )
    if (mark.every((byte, offset) => bytes[at + offset] === byte)) return at
  return -1
}
