import { type AdapterMetadata, adapterTensorSpecs } from '../../shared/adapter-file.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Parameters } from '../loss/loss-model.ts'
import { parameterPart } from '../parameter-groups.ts'
import { ownRows } from './own-rows.ts'
import { drawsOf, normal } from './random-rows.ts'

/** The start of rows: the backbone's own first-token state, or noise of the same size. */
export type RowStart = 'anchor' | 'random'

export interface FreshStart {
  readonly seed: number
  readonly rows: RowStart
  /** Of z = x · W_down. */
  readonly downDeviation: number
  /** s_l of each layer, [layers, d]. */
  readonly anchors: Float32Array
}

/** GELU as a rational function, within 1e-4 on ±3: a0..a6, b1..b5. */
const rationalGelu = [
  0.000028, 0.5, 0.398502, 0.162301, 0.064052, 0.018317, 0.0021, 0, 0.324603, 0, 0.036634, 0,
]

/** Standard deviation of the noise that tells rows apart which start as the same anchor, whose RMS is one. */
const rowNoise = 0.01
const queryDeviation = 0.02

interface TensorStart extends FreshStart {
  readonly name: string
  readonly length: number
  readonly metadata: AdapterMetadata
}

type Start = (of: TensorStart) => Float32Array

const draw = (deviation: number, { name, length, seed }: TensorStart) =>
  normal(length, { random: drawsOf(name, seed), deviation })

/** x has unit RMS. */
const down: Start = (of) => draw(of.downDeviation / Math.sqrt(of.metadata.d), of)

/** Zero, so that rows start as their anchor alone; without an anchor, noise, as rows of zeros have no direction. */
const up: Start = (of) =>
  of.metadata.anchor === 'none' && of.metadata.kind !== 'static'
    ? draw(1 / Math.sqrt(of.metadata.m), of)
    : new Float32Array(of.length)

const anchorRows: Start = (of) => {
  if (of.rows === 'random') return draw(1, of)
  const { anchors, name, metadata } = of
  const layer = layerOf(name)
  const anchor = anchors.subarray(layer * metadata.d, (layer + 1) * metadata.d)
  return draw(rowNoise, of).map((noise, i) => noise + (anchor[i % metadata.d] ?? 0))
}

const starts: { readonly [P in ReturnType<typeof parameterPart>]: Start } = {
  down,
  up,
  query: (of) => draw(queryDeviation, of),
  /** Rows are averaged over the instruction. */
  table: (of) => draw(1, of),
  anchor: anchorRows,
  /** If the graph or another tensor adds an anchor, these rows hold only the difference from it. */
  static: (of) => (ownRows(of.metadata) === 'static' ? anchorRows(of) : draw(rowNoise, of)),
  rational: () => Float32Array.from(rationalGelu),
}

/**
 * Where an adapter's tensors start when nothing else is said. The same seed gives the same values. Throws
 * `invalid_request` for random rows of an adapter that has none of its own.
 */
export function freshParameters(metadata: AdapterMetadata, from: FreshStart): Parameters {
  if (from.rows === 'random' && ownRows(metadata) === undefined)
    throw new QuartetError(
      'invalid_request',
      `an adapter of kind ${metadata.kind} with --anchor ${metadata.anchor} has no rows of its own that could start at random; use --anchor own, or leave --init random out`,
      { param: 'init' },
    )
  return new Map(
    [...adapterTensorSpecs(metadata)].map(([name, { shape }]) => {
      const length = shape.reduce((product, n) => product * n, 1)
      return [name, starts[parameterPart(name)]({ ...from, name, length, metadata })]
    }),
  )
}

/** The layer of a tensor `layers.{l}.…`. */
export function layerOf(name: string): number {
  return Number(/^layers\.([0-9]+)\./.exec(name)?.[1] ?? 0)
}
