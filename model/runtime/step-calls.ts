import type { StepPart } from './backend.ts'
import type { CacheForm } from './cache-layout.ts'
import { StackedAdapter } from './stacked-adapter.ts'

/** Sorts a step's parts into calls, the decoded tokens in the last one. */
type Calls = <P extends StepPart>(parts: readonly P[]) => readonly (readonly P[])[]

/** Each chunk is a call, and the decoded tokens are one: a run over places gives every sequence as many rows. */
const apart: Calls = (parts) => {
  const decoded = parts.filter(({ kind }) => kind === 'decode')
  const chunks = parts.filter(({ kind }) => kind === 'chunk').map((chunk) => [chunk])
  return decoded.length === 0 ? chunks : [...chunks, decoded]
}

/**
 * All in one call, which begins with a chunk that makes prompt rows where there is one: the graph makes them of one adapter in
 * a run. Each other such chunk is a call, and so is one of a stack, which takes several runs.
 */
const together: Calls = (parts) => {
  const makers = parts.filter(hasAdapter)
  const first = makers.find((part) => !(part.adapter instanceof StackedAdapter))
  const alone = makers.filter((part) => part !== first).map((part) => [part])
  const plain = parts.filter((part) => !hasAdapter(part))
  const inOrder = [
    ...plain.filter(({ kind }) => kind === 'chunk'),
    ...plain.filter(({ kind }) => kind === 'decode'),
  ]
  const rest = first === undefined ? inOrder : [first, ...inOrder]
  return rest.length === 0 ? alone : [...alone, rest]
}

function hasAdapter<P extends StepPart>(part: P): part is P & Extract<StepPart, { kind: 'chunk' }> {
  return part.kind === 'chunk' && part.adapter !== undefined
}

/**
 * The chunks in one call, and the decoded tokens in another: over 8-bit pages CUDA's attention unpacks the rows of every sequence
 * of a call that is not decoding alone, as many for each as the longest has.
 */
const chunksTogether: Calls = (parts) => [
  ...together(parts.filter(({ kind }) => kind === 'chunk')),
  ...apart(parts.filter(({ kind }) => kind === 'decode')),
]

/** How a step is run with a cache of this form. */
export function stepCallsOf({ layout, type }: CacheForm): Calls {
  if (layout !== 'pages') return apart
  return type === 'int8' ? chunksTogether : together
}
