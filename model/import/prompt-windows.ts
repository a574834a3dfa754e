import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { encode } from './tokenizer.ts'

/**
 * A text in windows of at most `length` tokens, each begun as the tokenizer begins a whole prompt. A model that was trained
 * with a token there keeps its attention sink in it: it reads a text that lacks it badly, and chance decides how badly.
 */
export function promptWindows(
  codec: TextCodec,
  { text, length }: { text: string; length: number },
): readonly (readonly number[])[] {
  const { before } = codec.frame
  const ids = encode(codec, text)
  const each = Math.max(1, length - before.length)
  return Array.from({ length: Math.ceil(ids.length / each) }, (_, at) => [
    ...before,
    ...ids.slice(at * each, (at + 1) * each),
  ])
}
