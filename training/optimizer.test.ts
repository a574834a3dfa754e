import { expect, it } from 'vitest'
import { Optimizer, type UpdateRule } from './optimizer.ts'

const adam = (changes: { rate?: number; decay?: number } = {}): UpdateRule => ({
  rule: 'adamw',
  rate: 0.1,
  decay: 0.01,
  ...changes,
})
const muon: UpdateRule = { rule: 'muon', rate: 0.1, decay: 0.01, rows: 2, columns: 3 }

const pairs = [
  [0.3, -2],
  [-0.1, 0.5],
  [1e-3, 4],
]
const matrices = [
  [0.3, -2, 0.1, 1, 0.5, -0.2],
  [-0.1, 0.5, 0.4, 0.2, -0.7, 0.9],
  [1e-3, 4, -1, 0.3, 0.3, 0.6],
]

async function follow(optimizer: Optimizer, steps: readonly (readonly number[])[]): Promise<void> {
  for (const step of steps) await optimizer.update(new Map([['w', Float32Array.from(step)]]), 1)
  await optimizer.close()
}

const of = (values: readonly number[]) => new Map([['w', Float32Array.from(values)]])

it.each([
  ['AdamW', adam(), [0.5, -1], pairs, [0.327580513, -0.890485489]],
  [
    'Muon',
    muon,
    [0.5, -1, 0.25, 0.1, 0.2, -0.3],
    matrices,
    [0.511009887, -0.955311306, 0.224063375, -0.166907761, 0.179472901, -0.425380088],
  ],
] as const)(
  'three steps of %s end where an independent implementation in Python does',
  async (_, rule, start, steps, end) => {
    const optimizer = new Optimizer(of(start), { ruleOf: () => rule })
    await follow(optimizer, steps)
    const values = optimizer.parameters.get('w') ?? []
    for (const [at, value] of end.entries()) expect(values[at]).toBeCloseTo(value, 6)
  },
)

it.each([
  ['AdamW', adam({ decay: 0 }), [0.5, -1], pairs],
  ['Muon', muon, [0.5, -1, 0.25, 0.1, 0.2, -0.3], matrices],
] as const)(
  '%s goes on from its moments as if nothing had happened, and leaves them alone',
  async (_, rule, start, steps) => {
    const ruleOf = () => rule
    const whole = new Optimizer(of(start), { ruleOf })
    await follow(whole, steps)
    const first = new Optimizer(of(start), { ruleOf })
    await follow(first, steps.slice(0, 2))
    const { parameters, moments } = first
    const kept = structuredClone(moments)
    const second = new Optimizer(parameters, { ruleOf, moments })
    await follow(second, steps.slice(2))
    expect(second.parameters).toEqual(whole.parameters)
    expect(moments).toEqual(kept)
  },
)

it('decay pulls at the values whatever the gradient; without it a zero gradient changes nothing', async () => {
  const decayed = new Optimizer(of([1]), { ruleOf: () => adam({ decay: 0.5 }) })
  await follow(decayed, [[0]])
  expect(decayed.parameters.get('w')?.[0]).toBeCloseTo(0.95, 6)
  const still = new Optimizer(of([1]), { ruleOf: () => adam({ decay: 0 }) })
  await follow(still, [[0]])
  expect(still.parameters.get('w')?.[0]).toBe(1)
  const matrix = new Optimizer(of([1, 1, 1, 1, 1, 1]), { ruleOf: () => muon })
  await follow(matrix, [[0, 0, 0, 0, 0, 0]])
  for (const value of matrix.parameters.get('w') ?? []) expect(value).toBeCloseTo(0.999, 6)
})

it('does not go on from the moments of the other rule', async () => {
  const first = new Optimizer(of([0.5, -1, 0.25, 0.1, 0.2, -0.3]), { ruleOf: () => muon })
  await follow(first, matrices)
  const second = new Optimizer(first.parameters, { ruleOf: () => adam(), moments: first.moments })
  await expect(follow(second, matrices)).rejects.toThrow('moments of Muon are of no use to AdamW')
})

it('a step of Muon does not depend on the size of the gradient', async () => {
  const step = async (scale: number) => {
    const optimizer = new Optimizer(of([0.5, -1, 0.25, 0.1, 0.2, -0.3]), { ruleOf: () => muon })
    await follow(optimizer, [[0.3, -2, 0.1, 1, 0.5, -0.2].map((value) => value * scale)])
    return [...(optimizer.parameters.get('w') ?? [])]
  }
  const [small, large] = [await step(1e-4), await step(1e4)]
  for (const [at, value] of small.entries()) expect(large[at]).toBeCloseTo(value, 6)
})
