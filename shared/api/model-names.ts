import { CanarySide } from './deployments.ts'
import { stackSeparator } from './parameters.ts'

interface ModelPart {
  readonly name: string
  readonly side: CanarySide | undefined
}

/** `{alias}@canary` and `{alias}@stable` name one side of an alias with a canary. No alias has an @ in its name. */
export function sideOf(model: string): ModelPart {
  const at = model.indexOf('@')
  const side = CanarySide.safeParse(at === -1 ? undefined : model.slice(at + 1))
  return side.success ? { name: model.slice(0, at), side: side.data } : { name: model, side: undefined }
}

/** The alias that a stack names twice, by whichever of its sides. */
export function stackedTwice(names: readonly string[]): string | undefined {
  const aliases = names.map((part) => sideOf(part).name)
  return aliases.find((alias, at) => aliases.indexOf(alias) < at)
}

/**
 * Whether two names may mean the same adapters in the same order: an alias and either of its sides may, its two sides
 * never do.
 */
export function mayBeSame(one: string, other: string): boolean {
  const [parts, others] = [partsOf(one), partsOf(other)]
  return (
    parts.length === others.length &&
    parts.every(({ name, side }, at) => {
      const against = others[at]
      if (against?.name !== name) return false
      return side === undefined || against.side === undefined || side === against.side
    })
  )
}

const partsOf = (model: string): readonly ModelPart[] => model.split(stackSeparator).map(sideOf)
