import { type AdapterMetadata, adapterTensorSpecs, type TensorSpec } from '../shared/adapter-file.ts'
import type { UpdateRule } from './optimizer.ts'
import type { LearningRates, TrainSettings } from './settings.ts'

type Part = 'down' | 'query' | 'up' | 'table' | 'static' | 'anchor' | 'rational'

interface Group {
  readonly rate: keyof LearningRates
  readonly decays: boolean
  /** A matrix that the generator multiplies with: Muon may train it. */
  readonly isProjection?: true
}

const generator: Group = { rate: 'generator', decays: true }
const projection: Group = { ...generator, isProjection: true }

/** By the last word of a tensor's name. */
const groups: { readonly [P in Part]: Group } = {
  down: projection,
  query: generator,
  up: projection,
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

/** How a tensor is trained, by its name. */
export function updateRules(
  specs: ReadonlyMap<string, Pick<TensorSpec, 'shape'>>,
  { decay, optimizer, rates }: Pick<TrainSettings, 'decay' | 'optimizer' | 'rates'>,
): (name: string) => UpdateRule {
  return (name) => {
    const { decays, isProjection = false, rate } = groups[parameterPart(name)]
    const rule = { rate: rates[rate], decay: decays ? decay : 0 }
    if (optimizer === 'adamw' || !isProjection) return { rule: 'adamw', ...rule }
    const [rows, columns, ...others] = specs.get(name)?.shape ?? []
    if (rows === undefined || columns === undefined || others.length > 0)
      throw new Error(`the tensor ${name} is no matrix`)
    return { rule: 'muon', ...rule, rows, columns }
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
