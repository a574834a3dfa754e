import { expect, test } from 'vitest'
import { AdapterMetadata } from '../../shared/adapter-file.ts'
import { ModelConfig } from '../../shared/backbone.ts'
import { runsOf } from '../data/runs.ts'
import { layOut, rowsOfRun } from './batch-layout.ts'
import { gradientOutput } from './prompts.ts'
import { tokenLossOutput, trainingGraph } from './training-graph.ts'
import { weightInput } from './weight-inputs.ts'

const config = ModelConfig.parse({
  layers: 4,
  d: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  ffn: 96,
  vocab: 128,
  contextLength: 64,
  rotary: [{ theta: 10_000 }],
  rmsEps: 1e-5,
  tiedHead: true,
})

function settings(kind: Record<string, string>): AdapterMetadata {
  return AdapterMetadata.parse({
    format: 'quartet-adapter/1',
    backbone: 'tiny',
    backbone_sha256: '0'.repeat(64),
    d: '64',
    layers: '4',
    l_sp: '3',
    ...kind,
  })
}

/** How often the graph multiplies by a layer's qkv weights: once forward, and once back where a gradient passes. */
function uses(metadata: AdapterMetadata, gradients: 'none' | 'kept' | 'recomputed'): number[] {
  const { graph } = trainingGraph({ config, metadata, gradients })
  return [0, 1, 2, 3].map((layer) => {
    const name = weightInput(`layers.${layer}.qkv`)
    return graph.nodes.filter(({ inputs }) => inputs.some((input) => input?.name === name)).length
  })
}

const lpt = settings({ kind: 'lpt', m: '8', at: '2' })
const iapt = settings({ kind: 'iapt', m: '8', activation: 'gelu' })

test('gradients stop at the lowest trained layer', () => {
  expect(uses(lpt, 'kept')).toEqual([1, 1, 2, 2])
  expect(uses(iapt, 'kept')).toEqual([2, 2, 2, 2])
  expect(uses(iapt, 'none')).toEqual([1, 1, 1, 1])
})

test('no gradient passes the tokens in front of late rows: their products are made forward alone', () => {
  const late = settings({ kind: 'iapt', m: '8', placement: 'late', tail: '1' })
  // The rows and the tokens behind them forward and back, and the fronts forward.
  expect(uses(late, 'kept')).toEqual([3, 3, 3, 3])
  expect(uses(late, 'none')).toEqual([2, 2, 2, 2])
})

test('checkpointing computes each layer but the last once more, and nothing below the lowest trained one', () => {
  expect(uses(iapt, 'recomputed')).toEqual([3, 3, 3, 2])
  expect(uses(lpt, 'recomputed')).toEqual([1, 1, 3, 2])
})

test('only the adapter’s tensors get gradients, each as one output', () => {
  const { graph } = trainingGraph({ config, metadata: lpt, gradients: 'kept' })
  const tensors = ['down', 'query', 'up', 'rational'].map((name) => gradientOutput(`layers.2.${name}`))
  expect([...graph.outputs.keys()].sort()).toEqual([tokenLossOutput, ...tensors].sort())
  expect(new Set(Array.from(graph.outputs.values(), ({ name }) => name)).size).toBe(5)
})

const batch = [
  { index: 0, instruction: [5, 6, 7], response: [8, 9], unscored: 0 },
  { index: 1, instruction: [1], response: [2], unscored: 0 },
]

test('a loss is taken only where a response token is predicted, padding and prompt rows aside', () => {
  const carried = layOut(batch, settings({ kind: 'lpt', m: '8', at: '2', placement: 'after-first' }))
  expect(carried).toMatchObject({
    tokens: [5, 6, 7, 8, 1, 0, 0, 0],
    longest: 4,
    targets: [8, 9, 2],
    attendedRows: [5, 6, 7],
    residualRows: [5, 6, 7],
  })
  expect(layOut(batch, iapt)).toMatchObject({ attendedRows: [5, 6, 10], residualRows: [2, 3, 4] })
  expect(layOut(batch, undefined)).toMatchObject({ attendedRows: [2, 3, 4], residualRows: [2, 3, 4] })
})

test('rows of a late adapter stand at the places that are given, and in front of the header by themselves', () => {
  const late = settings({ kind: 'iapt', m: '8', placement: 'late', tail: '1', l_sp: '3' })
  const long = [{ index: 0, instruction: [5, 6, 7], response: [8, 9, 2], unscored: 0 }]
  expect(layOut(long, late)).toMatchObject({
    tokens: [7, 8, 9],
    rows: 8,
    attendedRows: [5, 6, 7],
    residualRows: [0, 1, 2],
    instruction: 2,
    late: { frontTokens: [5, 6], tokenRows: [5, 6, 7], promptRows: [2, 3, 4], instructionRows: [0, 1] },
  })
  expect(layOut(long, late, () => [1, 3, 4])).toMatchObject({
    tokens: [6, 7, 8, 9],
    rows: 8,
    attendedRows: [3, 5, 7],
    residualRows: [1, 2, 3],
    instruction: 2,
    late: { frontTokens: [5], tokenRows: [2, 3, 5, 7], promptRows: [1, 4, 6], instructionRows: [0, 1] },
  })
})

test('every row and token of late examples has a place of its own, padding too', () => {
  const late = settings({ kind: 'iapt', m: '8', placement: 'late', tail: '1', l_sp: '3' })
  const examples = [
    { instruction: [5, 6, 7, 8, 9], response: [1] },
    { instruction: [5, 6], response: [1, 2, 3] },
  ]
  const { rows, late: laidOut } = layOut(examples, late)
  expect(laidOut?.frontTokens).toEqual([5, 6, 7, 8, 5, 0, 0, 0])
  const written = [...(laidOut?.tokenRows ?? []), ...(laidOut?.promptRows ?? [])]
  expect(new Set(written).size).toBe(2 * (3 + 3))
  expect(rows).toBe(4 + 3 + 3)
  expect(rowsOfRun(examples, late)).toBe(rows)
  expect(rowsOfRun(examples, iapt)).toBe(layOut(examples, iapt).rows)
  expect(laidOut?.promptRows).toEqual([4, 5, 6, 11, 12, 13])
  expect(laidOut?.tokenRows).toEqual([7, 8, 9, 14, 15, 16])
})

test('a response too long for one run is read several times, each time for the loss of other tokens', () => {
  const response = [10, 11, 12, 13, 14]
  const parts = runsOf([{ instruction: [1, 2], response }], {
    examples: 1,
    rows: 2,
    contextLength: 64,
    rowsOf: () => 2,
  })
  expect(parts).toHaveLength(3)
  expect(parts.map((part) => layOut(part, undefined))).toMatchObject([
    { tokens: [1, 2, 10], targets: [10, 11], residualRows: [1, 2] },
    { tokens: [1, 2, 10, 11, 12], targets: [12, 13], residualRows: [3, 4] },
    { tokens: [1, 2, 10, 11, 12, 13], targets: [14], residualRows: [5] },
  ])
})

test('a generator reads the instruction up to its window, never the response', () => {
  const { instruction, mask, share } = layOut(batch, settings({ kind: 'iapt', m: '8', window: '2' }))
  expect(instruction).toBe(2)
  expect([...mask]).toEqual([0, 0, 0, Math.fround(-1e30)])
  expect([...share]).toEqual([0.5, 0.5, 1, 0])
})
