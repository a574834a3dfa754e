import { type AdapterMetadata, adapterTensorSpecs } from '../../shared/adapter-file.ts'
import { BackboneDigest, BackboneSlug } from '../../shared/ids.ts'
import { lengthOf } from '../../training/data/batches.ts'
import type { Example } from '../../training/data/example.ts'
import type { LossModel, Parameters } from '../../training/loss/loss-model.ts'

const shape = {
  format: 'quartet-adapter/1',
  backbone: BackboneSlug.parse('fake'),
  backbone_sha256: BackboneDigest.parse('f'.repeat(64)),
  placement: 'first',
  d: 4,
  layers: 2,
  l_sp: 2,
} as const

export const fakeStatic: AdapterMetadata = { ...shape, kind: 'static', anchor: 'none', precision: 'f16' }
export const fakeRational: AdapterMetadata = {
  ...shape,
  kind: 'iapt',
  anchor: 'own',
  activation: 'rational',
  m: 3,
  window: 512,
}

/** −log p of each token under the fake untuned backbone. */
export const untunedLoss = 3

interface Behaviour {
  readonly metadata?: AdapterMetadata
  /** The extra loss per token of each call; calls count from 0. */
  readonly trouble?: (call: number) => number
  /** Called with every batch that is differentiated. */
  readonly onBatch?: (batch: readonly Example[]) => void
}

/**
 * A loss model with a known minimum: −log p of a token is half the mean squared distance of all parameters from the
 * token's id divided by a hundred.
 */
export function fakeLossModel({
  metadata = fakeStatic,
  trouble = () => 0,
  onBatch,
}: Behaviour = {}): LossModel {
  let calls = 0
  return {
    metadata,
    specs: adapterTensorSpecs(metadata),
    contextLength: 1024,
    rowsOf: (run) => metadata.l_sp + Math.max(...run.map(lengthOf)),
    async differentiate(batch, parameters) {
      onBatch?.(batch)
      const targets = batch.flatMap(({ response, unscored = 0 }) =>
        response.slice(unscored).map((id) => id / 100),
      )
      const size = sizeOf(parameters)
      const added = trouble(calls++)
      const gradients = new Map(
        [...parameters].map(([name, values]) => [
          name,
          values.map((value) => targets.reduce((sum, target) => sum + (value - target) / size, added)),
        ]),
      )
      const lossSum = targets.reduce((sum, target) => sum + distance(parameters, target) + added, 0)
      return { lossSum, tokens: targets.length, gradients }
    },
    async score(batch, parameters) {
      return Float64Array.from(batch, ({ response, unscored = 0 }) =>
        response
          .slice(unscored)
          .reduce(
            (sum, id) => sum + (parameters === undefined ? untunedLoss : distance(parameters, id / 100)),
            0,
          ),
      )
    },
    async close() {},
  }
}

const sizeOf = (parameters: Parameters) =>
  [...parameters.values()].reduce((sum, { length }) => sum + length, 0)

function distance(parameters: Parameters, target: number): number {
  let sum = 0
  for (const values of parameters.values()) for (const value of values) sum += (value - target) ** 2
  return sum / 2 / sizeOf(parameters)
}

/** Examples with this many response tokens of one id. */
export function fakeExamples(count: number, { id = 100, from = 0 } = {}): Example[] {
  return Array.from({ length: count }, (_, i) => ({
    instruction: Array.from({ length: 1 + ((from + i) % 7) }, (_, at) => from + i + at),
    response: Array<number>(1 + (i % 3)).fill(id),
  }))
}

/** Zeros for every parameter. */
export function zeros(metadata: AdapterMetadata): Parameters {
  return new Map(
    [...adapterTensorSpecs(metadata)].map(([name, { shape }]) => [
      name,
      new Float32Array(shape.reduce((product, n) => product * n, 1)),
    ]),
  )
}
