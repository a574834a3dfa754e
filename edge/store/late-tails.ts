import { QuartetError } from '../../shared/errors.ts'
import type { AliasTarget, BackboneRecord } from './records.ts'

/** Late adapters, and what they are called. */
interface NamedPart {
  readonly name: string
  readonly adapters: readonly Pick<AliasTarget, 'tail'>[]
}

/** Why these do not answer on one prefill, in a stack or as a shadow: their headers have different lengths; undefined where they do. */
export function differentTails(parts: readonly NamedPart[]): string | undefined {
  const tailOf = ({ adapters: [adapter] }: NamedPart) => adapter?.tail
  const [first] = parts
  const other = parts.find((part) => first !== undefined && tailOf(part) !== tailOf(first))
  if (first === undefined || other === undefined) return undefined
  return `${first.name} was made for a generation header of ${tailOf(first)} tokens and ${other.name} for one of ${tailOf(other)}: the backbone's chat template changed between the two; ${remedy}`
}

/**
 * Holds late adapters to the generation header, `header` tokens, of the chat template that has written the conversation:
 * the template may have changed since they were published. Throws `backbone_mismatch` that names the model.
 */
export function checkHeader(
  {
    asked,
    model: { adapters, record },
  }: {
    readonly asked: string
    readonly model: { readonly adapters: readonly AliasTarget[]; readonly record: BackboneRecord }
  },
  { header, param }: { readonly header: number; readonly param: string },
): void {
  const stale = adapters.find(({ tail }) => tail !== undefined && tail !== header)
  if (stale === undefined) return
  const now =
    header === 0
      ? `the chat template of ${record.backbone.slug} has none now`
      : `that of ${record.backbone.slug} has ${header} now`
  const which = adapters.length > 1 ? `the adapter ${stale.digest.slice(0, 12)} of` : 'the adapter behind'
  throw new QuartetError(
    'backbone_mismatch',
    `${param}: ${which} ${JSON.stringify(asked)} was made for a generation header of ${stale.tail} tokens, and ${now}; ${remedy}`,
    { param },
  )
}

const remedy =
  'train it anew, or on from where it is, with the template that is served, publish that and move the alias to it'
