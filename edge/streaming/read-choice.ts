import type { Vocabulary } from '../../shared/tokenizer/vocabulary.ts'
import type { FinishReason, GenerateEvent, TokenScore } from '../../shared/wire.ts'
import type { ChoiceMeter } from '../budgets/choice-meter.ts'
import { ChoiceText, type PlacedToken, type SampledToken } from './choice-text.ts'

/** The news of a choice that arrived together. */
export interface ChoiceDelta {
  readonly text: string
  readonly tokens: readonly PlacedToken[]
  /** Tokens of the choice so far, those without text and those whose text waits included. */
  readonly completionTokens: number
  readonly finish?: {
    readonly reason: FinishReason
    /** The stop string that ended it. */
    readonly stopString?: string | undefined
    /** The token that ended it and has no text. */
    readonly stopToken?: SampledToken | undefined
  }
  /** Scores of the prompt's tokens from the second on, where the request asks for them: in the first delta. */
  readonly prompt?: readonly TokenScore[]
  /** The prompt's embedding (`shared/vector.ts`), where the request asks for it: in the last delta. */
  readonly embedding?: string | undefined
}

export interface ChoiceSource {
  readonly events: AsyncGenerator<readonly GenerateEvent[], void>
  /** Sees every event and the end. */
  readonly meter: Pick<ChoiceMeter, 'see' | 'failed' | 'end'>
  readonly vocabulary: Pick<Vocabulary, 'bytes'>
  readonly stops: readonly string[]
  readonly minTokens: number
}

/**
 * A node's events as text. Ends with a delta that has `finish`; a stop string ends it early, which stops the
 * node's work, and the tokens consumed until then are the ones that count. Throws what `events` throw.
 */
export async function* readChoice({
  events,
  meter,
  minTokens,
  stops,
  vocabulary,
}: ChoiceSource): AsyncGenerator<ChoiceDelta, void> {
  const choice = new ChoiceText({ vocabulary, stops, minTokens })
  const scores: TokenScore[] = []
  /** Goes with the first delta, though network chunks may part it from the first token. */
  const prompt = () => (scores.length === 0 ? {} : { prompt: scores.splice(0) })
  let completionTokens = 0
  let stopToken: SampledToken | undefined
  let embedding: string | undefined
  let hasFailed = false
  try {
    for await (const group of events) {
      let text = ''
      const tokens: PlacedToken[] = []
      const add = (piece: { text: string; tokens: readonly PlacedToken[] }) => {
        text += piece.text
        tokens.push(...piece.tokens)
      }
      // All of them, though a stop string may leave the last ones out: they were generated.
      for (const event of group) meter.see(event)
      for (const event of group) {
        if (event.type === 'prompt') scores.push(...event.scores)
        if (event.type === 'embedding') embedding = event.vector
        if (event.type === 'token') {
          completionTokens += 1
          if (event.stop === true) stopToken = event
          else add(choice.push(event))
          if (!choice.stopped) continue
          yield {
            ...prompt(),
            text,
            tokens,
            completionTokens,
            finish: { reason: 'stop', stopString: choice.stopString },
          }
          return
        }
        if (event.type !== 'done') continue
        add(choice.finish())
        const reason = choice.stopped ? 'stop' : event.reason
        yield {
          ...prompt(),
          text,
          tokens,
          completionTokens: event.usage.completionTokens,
          ...(embedding !== undefined && { embedding }),
          finish: { reason, stopToken, stopString: choice.stopString },
        }
        return
      }
      if (text !== '' || tokens.length > 0) yield { ...prompt(), text, tokens, completionTokens }
    }
  } catch (thrown) {
    hasFailed = true
    meter.failed(thrown)
    throw thrown
  } finally {
    // A reader that needs no more leaves early.
    if (!hasFailed) meter.end('stop')
  }
}
