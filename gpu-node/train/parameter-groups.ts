import type { GroupSettings } from './adamw.ts'
import type { TrainSettings } from './settings.ts'

type Part = 'down' | 'query' | 'up' | 'table' | 'static' | 'anchor' | 'rational'
type Source = Pick<TrainSettings, 'rates' | 'decay'>

const generator = ({ rates, decay }: Source): GroupSettings => ({ rate: rates.generator, decay })

/** Rate and decay by the last word of a tensor's name. */
const groups: { readonly [P in Part]: (settings: Source) => GroupSettings } = {
  down: generator,
  query: generator,
  up: generator,
  table: generator,
  static: ({ rates, decay }) => ({ rate: rates.static, decay }),
  anchor: ({ rates }) => ({ rate: rates.anchor, decay: 0 }),
  rational: ({ rates }) => ({ rate: rates.rational, decay: 0 }),
}

const isPart = (word: string): word is Part => Object.hasOwn(groups, word)

/** What a tensor is: the last word of its name. */
export function partOf(name: string): Part {
  const word = name.slice(name.lastIndexOf('.') + 1)
  if (isPart(word)) return word
  throw new Error(`the tensor ${name} belongs to no parameter group`)
}

/** Rate and decay of a tensor by its name. */
export function parameterGroups(settings: Source): (name: string) => GroupSettings {
  return (name) => groups[partOf(name)](settings)
}
