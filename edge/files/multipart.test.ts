import { describe, expect, test } from 'vitest'
import { boundaryOf, readForm } from './multipart.ts'

interface Read {
  readonly name: string
  readonly filename: string | undefined
  readonly text: string
}

async function readAll(body: Uint8Array, boundary: string, chunkBytes: number): Promise<readonly Read[]> {
  async function* chunks() {
    for (let at = 0; at < body.length; at += chunkBytes) yield body.subarray(at, at + chunkBytes)
  }
  const parts: Read[] = []
  for await (const { bytes, filename, name } of readForm(chunks(), boundary)) {
    const decoder = new TextDecoder()
    let text = ''
    for await (const chunk of bytes) text += decoder.decode(chunk, { stream: true })
    parts.push({ name, filename, text: text + decoder.decode() })
  }
  return parts
}

describe('a form', () => {
  test('as fetch writes it is read whole, in chunks of any size', async () => {
    const form = new FormData()
    form.set('purpose', 'fine-tune')
    const content = `{"prompt":"é\\r\\n--"}\r\n--almost\r\n${'x'.repeat(300)}`
    form.set('file', new File([content], 'ex"a.jsonl'))
    const request = new Request('http://x', { method: 'POST', body: form })
    const boundary = boundaryOf(request.headers.get('content-type'))
    const body = new Uint8Array(await request.arrayBuffer())
    for (const size of [1, 2, 7, 64, 4_096])
      expect(await readAll(body, boundary, size), `${size} bytes`).toEqual([
        { name: 'purpose', filename: undefined, text: 'fine-tune' },
        { name: 'file', filename: 'ex"a.jsonl', text: content },
      ])
  })

  test('that is cut off is refused', async () => {
    const text = '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tu'
    await expect(readAll(new TextEncoder().encode(text), 'b', 10)).rejects.toMatchObject({
      code: 'invalid_request',
    })
  })

  test('whose part has no name, or headers without end, is refused', async () => {
    for (const text of [
      '--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n',
      `--b\r\nContent-Disposition: form-data; name="a"; x="${'y'.repeat(20_000)}"\r\n\r\nx\r\n--b--\r\n`,
    ])
      await expect(readAll(new TextEncoder().encode(text), 'b', 1_000)).rejects.toMatchObject({
        code: 'invalid_request',
      })
  })

  test('of another type is refused by name', () => {
    expect(() => boundaryOf('application/json')).toThrow(
      expect.objectContaining({ code: 'unsupported_media_type' }),
    )
    expect(boundaryOf('multipart/form-data; charset=utf-8; boundary="a b"')).toBe('a b')
  })
})
