import { z } from 'zod'
import { compileTokenizer } from '../../shared/tokenizer/compile-tokenizer.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { checkTables, readTables } from '../../shared/tokenizer/tokenizer-tables.ts'

/** The reference's ids of each text, in order: with the tokens around a whole prompt, and without them. */
export const ReferenceIds = z.array(z.object({ prompt: z.array(z.int()), bare: z.array(z.int()) }))
export type ReferenceIds = z.infer<typeof ReferenceIds>

const limit = { tokens: Number.POSITIVE_INFINITY, param: 'prompt' } as const

/** The texts to which a tokenizer.json gives other ids than the reference. */
export function differingTexts(
  tokenizer: unknown,
  { texts, reference }: { texts: readonly string[]; reference: ReferenceIds },
): string[] {
  if (texts.length !== reference.length) throw new Error('a text without its ids')
  const codec = new TextCodec(checkTables(readTables(compileTokenizer(tokenizer))))
  return texts.filter(
    (text, at) =>
      codec.encodePrompt(text, limit).join() !== reference[at]?.prompt.join() ||
      codec.encodeRendered(text, limit).join() !== reference[at]?.bare.join(),
  )
}
