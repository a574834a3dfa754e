import type { AnswerForm } from '../../shared/api/structure.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { ResolvedModel } from './resolve-model.ts'

/** The fields in which requests ask for a form, each with how it asks for none. */
const freely = {
  response_format: ', or {"type": "text"} for none',
  'text.format': ', or {"type": "text"} for none',
  'output_config.format': '',
} as const

/**
 * The form that the models of a request give their answers where the request asks for none in its field `param`. Throws
 * `invalid_request` where they do not agree: the answers of one request have one form.
 */
export function ownForm(
  models: readonly Pick<ResolvedModel, 'forms'>[],
  param: keyof typeof freely = 'response_format',
): AnswerForm | undefined {
  const texts = new Set(models.flatMap(({ forms }) => forms.map((form) => JSON.stringify(form))))
  const isWithout = models.some(({ forms }) => forms.length === 0)
  if (texts.size > 1 || (texts.size === 1 && isWithout))
    throw new QuartetError(
      'invalid_request',
      `${param}: the aliases give their answers different forms; send the one that you want${freely[param]}`,
      { param },
    )
  return models[0]?.forms[0]
}
