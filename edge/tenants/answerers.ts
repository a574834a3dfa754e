import { QuartetError } from '../../shared/errors.ts'
import { standsInWords } from '../store/records.ts'
import { type ResolvedModel, tailOf } from './resolve-model.ts'

/** A model that answers, and what the client called it. */
export interface Answerer {
  readonly asked: string
  readonly model: ResolvedModel
}

/**
 * Holds models that are to answer one conversation together to what makes one prefill of it: late rows, and one
 * backbone. Throws `invalid_request` that names the first that does not go.
 */
export function checkSeveral(answerers: readonly Answerer[]): void {
  const first = answerers[0]?.model.record.backbone
  for (const [at, { asked, model }] of answerers.entries()) {
    const param = `models[${at}]`
    const refuse = (why: string) =>
      new QuartetError('invalid_request', `${param}: ${JSON.stringify(asked)} ${why}`, { param })
    if (model.adapters.length === 0)
      throw refuse('is the untuned model, which has no rows behind the conversation; ask for it by itself')
    if (tailOf(model) === undefined)
      throw refuse(
        `has rows ${standsInWords(model.adapters[0] ?? {})}, so that no other can use all of its prefill; only adapters with late rows (--placement late) answer together`,
      )
    if (model.record.backbone.digest !== first?.digest)
      throw refuse(
        `is for the backbone ${model.record.backbone.slug}, models[0] for ${first?.slug}; those of one request have one backbone`,
      )
  }
}
