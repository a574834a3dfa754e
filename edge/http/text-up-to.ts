/** The body's text, at most `most` bytes of it; the rest is not read. */
export async function textUpTo(
  most: number,
  { body }: Pick<Response, 'body'>,
): Promise<{ readonly text: string; readonly isWhole: boolean }> {
  const decoder = new TextDecoder()
  let text = ''
  let left = most
  for await (const chunk of body ?? []) {
    text += decoder.decode(chunk.subarray(0, left), { stream: true })
    left -= chunk.length
    // Leaving cancels the body.
    if (left < 0) return { text, isWhole: false }
  }
  return { text: text + decoder.decode(), isWhole: true }
}
