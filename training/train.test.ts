import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  fakeExamples,
  fakeLossModel,
  fakeRational,
  fakeStatic,
  untunedLoss,
  zeros,
} from '../test/fakes/fake-loss-model.ts'
import type { Example } from './data/example.ts'
import type { LossModel } from './loss/loss-model.ts'
import { Optimizer } from './optimizer.ts'
import { TrainSettings } from './settings.ts'
import { freshState, type TrainOptions, type TrainState, train } from './train.ts'

const settings = (changes: Partial<TrainSettings> = {}): TrainSettings =>
  TrainSettings.parse({ steps: 30, evaluateEvery: 5, batch: 4, patience: null, ...changes })

const data = { train: fakeExamples(22), dev: fakeExamples(6, { from: 100 }) }

const training = (changes: Partial<TrainOptions> = {}): TrainOptions => ({
  model: fakeLossModel(),
  start: freshState(zeros(fakeStatic)),
  data,
  settings: settings(),
  ...changes,
})

/** A copy as a file would hold it. */
const copied = (state: TrainState): TrainState => structuredClone(state)

describe('training', () => {
  it('lowers the loss and says by how much at every step', async () => {
    const { state, outcome, devLoss } = await train(training())
    expect(outcome).toBe('finished')
    const losses = state.history.flatMap((record) => (record.type === 'step' ? [record.loss] : []))
    expect(losses).toHaveLength(30)
    expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) * 0.8)
    expect(devLoss).toBeLessThan(losses[0] ?? 0)
    expect(state.history[0]).toEqual({ type: 'untuned', devLoss: untunedLoss })
  })

  it('gives the same tensors for the same seed and others for another', async () => {
    const data = { train: [...fakeExamples(11), ...fakeExamples(11, { id: 300, from: 50 })], dev: [] }
    const run = async (seed: number) =>
      (await train(training({ data, settings: settings({ seed, steps: 7 }) }))).parameters
    expect(await run(1)).toEqual(await run(1))
    expect(await run(1)).not.toEqual(await run(2))
  })

  it('reads every example once an epoch', async () => {
    const seen: Example[] = []
    const model = fakeLossModel({ onBatch: (batch) => seen.push(...batch) })
    await train(training({ model, settings: settings({ steps: 6 }) }))
    expect(seen).toHaveLength(22)
    expect(new Set(seen.map(nameOf))).toEqual(new Set(data.train.map(nameOf)))
  })

  it.each([1, 7, 10, 26])(
    'interrupted after %i runs and resumed, ends bit for bit where it would have',
    async (after) => {
      const whole = await train(training())
      const stop = new AbortController()
      let runs = 0
      const model = fakeLossModel({ onBatch: () => ++runs === after && stop.abort() })
      const saved: TrainState[] = []
      const first = await train(
        training({ model, signal: stop.signal, save: async (state) => void saved.push(copied(state)) }),
      )
      expect(first.outcome).toBe('interrupted')
      const start = saved.at(-1)
      if (start === undefined) throw new Error('an interruption saves')
      expect(start.step).toBe(after)
      const second = await train(training({ start }))
      expect(second.parameters).toEqual(whole.parameters)
      expect(second.step).toBe(whole.step)
      expect(second.state.moments).toEqual(whole.state.moments)
      const timeless = (state: TrainState) =>
        state.history.map((record) => ({ ...record, tokensPerSecond: 0 }))
      expect(timeless(second.state)).toEqual(timeless(whole.state))
    },
  )

  it.each(['joint', 'bilevel'] as const)(
    'matrices of a generator end bit for bit where they would have, with %s coefficients',
    async (rational) => {
      const options = (changes: Partial<TrainOptions> = {}) =>
        training({
          model: fakeLossModel({ metadata: fakeRational }),
          start: freshState(zeros(fakeRational)),
          settings: settings({ rational }),
          ...changes,
        })
      const whole = await train(options())
      const rules = Map.groupBy(whole.state.moments, ([, { rule }]) => rule)
      expect(rules.get('muon')?.map(([name]) => name)).toContain('layers.1.down')
      const saved: TrainState[] = []
      await train(options({ save: async (state) => void saved.push(copied(state)) }))
      const [start] = saved
      if (start === undefined) throw new Error('a measurement saves')
      const second = await train(options({ start }))
      expect(second.parameters).toEqual(whole.parameters)
      expect(second.state.moments).toEqual(whole.state.moments)
    },
  )

  it.each([
    ['ends', {}, undefined],
    [
      'diverges',
      { model: fakeLossModel({ metadata: fakeRational, trouble: () => Number.NaN }) },
      /not finite|is NaN/,
    ],
    [
      'cannot be saved',
      {
        save: async () => {
          throw new Error('no room')
        },
      },
      /no room/,
    ],
  ] as const)('a training that %s frees what its updates needed', async (_, changes, says) => {
    const close = vi.spyOn(Optimizer.prototype, 'close')
    onTestFinished(() => close.mockRestore())
    const run = train(
      training({
        model: fakeLossModel({ metadata: fakeRational }),
        start: freshState(zeros(fakeRational)),
        ...changes,
      }),
    )
    await (says === undefined ? run : expect(run).rejects.toThrow(says))
    expect(close).toHaveBeenCalledOnce()
  })

  it('two batches accumulated make the step of one batch of both', async () => {
    const run = async (changes: Partial<TrainSettings>) =>
      (await train(training({ settings: settings({ steps: 6, ...changes }) }))).parameters
    const [one, two] = [await run({ batch: 8 }), await run({ batch: 4, accumulate: 2 })]
    for (const [name, values] of one)
      for (const [i, value] of values.entries()) expect(two.get(name)?.[i]).toBeCloseTo(value, 4)
  })

  it('a batch longer than the tokens of a run is run in parts', async () => {
    const sizes: number[] = []
    const model = fakeLossModel({
      onBatch: (batch) =>
        sizes.push(batch.length * Math.max(...batch.map((e) => e.instruction.length + e.response.length))),
    })
    await train(training({ model, settings: settings({ steps: 6, batch: 22, batchTokens: 20 }) }))
    expect(Math.max(...sizes)).toBeLessThanOrEqual(20)
    expect(sizes.length).toBeGreaterThan(6)
  })
})

describe('the dev loss', () => {
  it('chooses the tensors that are kept, and ends training when it has not fallen for a while', async () => {
    const away = { train: fakeExamples(20, { id: 500 }), dev: fakeExamples(5, { id: 20 }) }
    const { outcome, step, state, parameters } = await train(
      training({ data: away, settings: settings({ steps: 400, patience: 3 }) }),
    )
    expect(outcome).toBe('exhausted')
    const measured = state.history.flatMap((record) => (record.type === 'evaluation' ? [record] : []))
    const best = measured.reduce((a, b) => (b.devLoss < a.devLoss ? b : a))
    expect(step).toBe(best.step)
    expect(state.step).toBe(step + 3 * 5)
    expect(parameters).toEqual(state.best?.parameters)
    expect(parameters).not.toEqual(state.parameters)
  })

  it('is that of the tensors as a file holds them', async () => {
    const { devLoss, parameters } = await train(training())
    const model = fakeLossModel()
    const tokens = data.dev.reduce((sum, { response }) => sum + response.length, 0)
    const sum = (await model.score(data.dev, parameters)).reduce((a, b) => a + b, 0)
    expect(devLoss).toBe(sum / tokens)
    for (const values of parameters.values())
      expect(values).toEqual(Float32Array.from(Float16Array.from(values)))
  })

  it('is not measured without dev examples; the last tensors are kept', async () => {
    const { devLoss, step, state } = await train(training({ data: { ...data, dev: [] } }))
    expect(devLoss).toBeUndefined()
    expect(step).toBe(30)
    expect(state.best).toBeUndefined()
  })
})

/** An example by its tokens: the model gets copies. */
const nameOf = ({ instruction, response }: Example) => `${instruction.join()}>${response.join()}`

describe('rational coefficients', () => {
  const rational = (changes: Partial<TrainSettings>, onBatch?: (batch: readonly Example[]) => void) =>
    train(
      training({
        model: fakeLossModel({ metadata: fakeRational, ...(onBatch && { onBatch }) }),
        start: freshState(zeros(fakeRational)),
        settings: settings({ steps: 10, ...changes }),
      }),
    )

  it('bi-level, are trained on examples that nothing else is trained on', async () => {
    const batches: (readonly Example[])[] = []
    const { state } = await rational(
      { rational: 'bilevel', heldOut: 0.25 },
      (batch) => void batches.push(batch),
    )
    expect(batches).toHaveLength(20)
    const namesOf = (odd: number) =>
      new Set(batches.flatMap((batch, i) => (i % 2 === odd ? batch.map(nameOf) : [])))
    const [generators, heldOut] = [namesOf(0), namesOf(1)]
    expect([...heldOut].filter((name) => generators.has(name))).toEqual([])
    expect(heldOut.size).toBe(6)
    for (const { updates } of state.moments.values()) expect(updates).toBe(10)
  })

  it('bi-level, need two examples', async () => {
    const model = fakeLossModel({ metadata: fakeRational })
    const run = train(
      training({
        model,
        start: freshState(zeros(fakeRational)),
        data: { ...data, train: fakeExamples(1) },
        settings: settings({ rational: 'bilevel' }),
      }),
    )
    await expect(run).rejects.toThrow(/bi-level training needs two; add examples/)
  })

  it('jointly, move with everything else, in one run of the model per step', async () => {
    let runs = 0
    const { parameters } = await rational({ rational: 'joint' }, () => void runs++)
    expect(runs).toBe(10)
    expect(parameters.get('layers.0.rational')?.some((value) => value !== 0)).toBe(true)
  })
})

describe('a training that goes wrong stops and says where', () => {
  it.each([NaN, Infinity])('at a loss of %d, with the tensors of the step before', async (loss) => {
    const model = fakeLossModel({ trouble: (call) => (call === 12 ? loss : 0) })
    const saved: TrainState[] = []
    const run = train(training({ model, save: async (state) => void saved.push(copied(state)) }))
    await expect(run).rejects.toMatchObject({
      code: 'training_diverged',
      message: expect.stringMatching(/^training stopped: the loss is .* at step 13$/),
    })
    expect(saved.at(-1)?.step).toBe(10)
    for (const values of saved.at(-1)?.parameters.values() ?? [])
      expect(values.every(Number.isFinite)).toBe(true)
  })

  it('when the loss keeps rising', async () => {
    const model = fakeLossModel({ trouble: (call) => Math.max(0, call - 8) / 4 })
    await expect(train(training({ model }))).rejects.toThrow(/the loss rose from \d/)
  })

  it('when the dev loss lies far above that of the untuned backbone and of the first step', async () => {
    const rates = { ...settings().rates, static: 1 }
    const run = (first: number) => {
      const model = fakeLossModel({ trouble: (call) => (call === 0 ? first : -1000) })
      return train(training({ model, settings: settings({ steps: 15, evaluateEvery: 15, rates }) }))
    }
    await expect(run(0)).rejects.toThrow(
      /the dev loss is \d+\.\d+ after step 15, and the untuned backbone has \d+\.\d+$/,
    )
    await expect(run(1e9)).resolves.toMatchObject({ outcome: 'finished' })
  })

  it('when a tensor grows beyond what a file holds', async () => {
    const start = freshState(zeros(fakeStatic))
    start.parameters.get('layers.0.static')?.fill(70_000)
    await expect(train(training({ start }))).rejects.toThrow(/layers.0.static has grown beyond 16-bit floats/)
  })

  it('when a checkpoint cannot be written, with that failure', async () => {
    const save = () => Promise.reject(new Error('the disk is full'))
    await expect(train(training({ save }))).rejects.toThrow('the disk is full')
  })
})

it('the time left counts steps and measurements apart, so that a slow first measurement is no step', async () => {
  let now = 0
  vi.spyOn(performance, 'now').mockImplementation(() => now)
  const fake = fakeLossModel()
  const model: LossModel = {
    ...fake,
    differentiate: (...of) => {
      now += 1000
      return fake.differentiate(...of)
    },
    score: (run, parameters) => {
      now += parameters === undefined ? 60_000 : 6000
      return fake.score(run, parameters)
    },
  }
  const left: (number | undefined)[] = []
  await train({
    ...training({ model, settings: settings({ steps: 4, evaluateEvery: 2, batchTokens: 1e6, batch: 64 }) }),
    onEvent: (event) => {
      if (event.type === 'step') left.push(event.progress.secondsLeft)
    },
  })
  vi.restoreAllMocks()
  expect(left).toEqual([3 + 2 * 60, 2 + 60, 1 + 33, 0])
})
