import type { JobEvaluation } from '../../shared/api/fine-tuning.ts'

/** How the tuned model compares with the untuned one by its loss on the validation examples. */
export type Verdict = 'better' | 'no better' | 'not measured'

export function verdictOf({
  tuned_loss: tuned,
  untuned_loss: untuned,
}: Pick<JobEvaluation, 'tuned_loss' | 'untuned_loss'>): Verdict {
  if (tuned === null || untuned === null) return 'not measured'
  return tuned < untuned ? 'better' : 'no better'
}

/** The warning of a job whose result is not known to be better; undefined where it is. `isAliased`: an alias points to it nevertheless. */
export function warningOf(
  evaluation: Pick<JobEvaluation, 'tuned_loss' | 'untuned_loss'>,
  { isAliased }: { readonly isAliased: boolean },
): string | undefined {
  const consequence = isAliased ? '' : ', so no alias points to it'
  switch (verdictOf(evaluation)) {
    case 'better':
      return undefined
    case 'no better':
      return `The tuned model is no better than the untuned one (validation loss ${shown(evaluation.tuned_loss)} against ${shown(evaluation.untuned_loss)})${consequence}`
    case 'not measured':
      return `The tuned model was not compared with the untuned one, as the files leave no examples to measure on${consequence}; give a validation_file with other prompts, or create the job with deploy_if_worse`
  }
}

const shown = (loss: number | null): string => loss?.toFixed(4) ?? 'none'
