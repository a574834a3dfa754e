import type { TokenCount, TrainingEstimate } from '../../shared/api/files.ts'
import { bytes, duration, number } from './format.ts'

/** The estimate of a training, in one sentence. */
export function estimateText({
  adapter_bytes,
  seconds,
  seconds_from,
  steps,
  trained_tokens,
}: TrainingEstimate): string {
  const basis =
    seconds_from === 'trainers' ? 'by the last job’s speed' : 'assumed: no job has been trained yet'
  return `${number(steps)} steps, ${number(trained_tokens)} tokens, about ${duration(1_000 * seconds)} (${basis}); the adapter has ${bytes(adapter_bytes)}.`
}

/** The tokens of a file by one backbone's tokenizer. */
export const countText = ({ backbone, examples, is_exact, tokens }: TokenCount): string =>
  `${is_exact ? '' : 'about '}${number(examples)} examples, ${number(tokens)} tokens for ${backbone}`
