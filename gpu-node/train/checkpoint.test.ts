import { expect, it } from 'vitest'
import { decodeCheckpoint, encodeCheckpoint } from './checkpoint.ts'
import { fakeExamples, fakeLossModel, fakeStatic, zeros } from './fake-loss-model.ts'
import { TrainSettings } from './settings.ts'
import { freshState, train } from './train.ts'

const identity = { 'the training data': 'a'.repeat(64), seed: '3', m: '64' }
const { specs } = fakeLossModel()

const { state } = await train({
  model: fakeLossModel(),
  start: freshState(zeros(fakeStatic)),
  data: { train: fakeExamples(9), dev: fakeExamples(3) },
  settings: TrainSettings.parse({ steps: 4, evaluateEvery: 2, batch: 4 }),
})

it('a checkpoint gives back the very state, values bit for bit', () => {
  expect(decodeCheckpoint(encodeCheckpoint(state, identity), { identity, specs })).toEqual(state)
})

it('a fresh state is one as well', () => {
  const fresh = freshState(zeros(fakeStatic))
  expect(decodeCheckpoint(encodeCheckpoint(fresh, identity), { identity, specs })).toEqual(fresh)
})

it('a checkpoint of another training is refused by the names of what has changed', () => {
  const file = encodeCheckpoint(state, identity)
  const changed = { ...identity, seed: '4', activation: 'gelu' }
  expect(() => decodeCheckpoint(file, { identity: changed, specs })).toThrow(
    /seed was 3 and is 4; activation was not given and is gelu; give what it was started with/,
  )
})

it('a file that is damaged anywhere is refused', () => {
  const file = encodeCheckpoint(state, identity)
  for (let at = 0; at < file.length; at += 97) {
    const damaged = file.slice()
    damaged[at] = (damaged[at] ?? 0) ^ 0x10
    expect(() => decodeCheckpoint(damaged, { identity, specs })).toThrow(/the checkpoint cannot be used/)
  }
  for (const length of [0, 7, 100, file.length - 1])
    expect(() => decodeCheckpoint(file.slice(0, length), { identity, specs })).toThrow(/cannot be used/)
})
