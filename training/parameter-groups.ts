import { type AdapterMetadata, adapterTensorSpecs } from '../shared/adapter-file.ts'
import type { GroupSettings } from './adamw.ts'
import type { LearningRates, TrainSettings } from './settings.ts'

type Part = 'down' | 'query' | 'up' | 'table' | 'static' | 'anchor' | 'rational'

interface Group {
  readonly rate: keyof LearningRates
  readonly decays: boolean
}

const generator: Group = { rate: 'generator', decays: true }

/** Rate and decay by the last word of a tensor's name. */
const groups: { readonly [P in Part]: Group } = {
  down: generator,
  query: generator,
  up: generator,
  table: generator,
  static: { rate: 'static', decays: true },
  anchor: { rate: 'anchor', decays: false },
  rational: { rate: 'rational', decays: false },
}

const isPart = (word: string): word is Part => Object.hasOwn(groups, word)

/** A tensor's part: the last word of its name. */
export function parameterPart(name: string): Part {
  const word = name.slice(name.lastIndexOf('.') + 1)
  if (isPart(word)) return word
  throw new Error(`the tensor ${name} belongs to no parameter group`)
}

/** Rate and decay of a tensor by its name. */
export function parameterGroups({
  decay,
  rates,
}: Pick<TrainSettings, 'rates' | 'decay'>): (name: string) => GroupSettings {
  return (name) => {
    const { decays, rate } = groups[parameterPart(name)]
    return { rate: rates[rate], decay: decays ? decay : 0 }
  }
}

/** The parts that an adapter's tensors are. */
export function partsOf(metadata: AdapterMetadata): ReadonlySet<Part> {
  return new Set([...adapterTensorSpecs(metadata).keys()].map(parameterPart))
}

/** The rates that an adapter's tensors are trained at. */
export function ratesOf(metadata: AdapterMetadata): ReadonlySet<keyof LearningRates> {
  return new Set([...partsOf(metadata)].map((part) => groups[part].rate))
}
