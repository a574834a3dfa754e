import type { Vocabulary } from '../../shared/tokenizer/vocabulary.ts'
import type { ChoiceSource } from '../streaming/read-choice.ts'
import type { Generation } from './generation.ts'

/** How the text of an answer is read from its tokens: the same for a client's answer and for a shadow's. */
export const answerReading = ({
  codec,
  sampling,
  shownTokens,
  stops,
}: Generation): Pick<ChoiceSource, 'stops' | 'minTokens' | 'vocabulary'> => ({
  stops,
  minTokens: sampling.minTokens ?? 0,
  vocabulary: withShown(codec.vocabulary, shownTokens),
})

/** A special token adds no text to an answer, but for those that are `shown`. */
function withShown(
  vocabulary: Vocabulary,
  shown: ReadonlySet<number> | undefined,
): Pick<Vocabulary, 'bytes'> {
  if (shown === undefined || shown.size === 0) return vocabulary
  return { bytes: (id) => (shown.has(id) ? vocabulary.spelling(id) : vocabulary.bytes(id)) }
}
