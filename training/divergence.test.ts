import { expect, it } from 'vitest'
import { LossWatch } from './divergence.ts'
import type { TrainRecord } from './record.ts'

const steps = (losses: readonly number[]): TrainRecord[] =>
  losses.map((loss, at) => ({
    type: 'step',
    step: at + 1,
    loss,
    gradientNorm: 1,
    rateFactor: 1,
    tokens: 1,
    tokensPerSecond: 1,
  }))
const run = (from: number, to: number) =>
  Array.from({ length: 20 }, (_, at) => from + ((to - from) * at) / 19)
const watch =
  (records: readonly TrainRecord[], before: readonly TrainRecord[] = []) =>
  () => {
    const losses = new LossWatch(before)
    for (const record of records) losses.push(record)
  }

it('a loss that rises far above where it began is one that runs away', () => {
  expect(watch(steps(run(2, 8)))).toThrow(
    /the loss rose from 3\.\d+ in steps 1 to 10 to \d\.\d+ in steps 1\d to 2\d/,
  )
})

it('so is one that rises far above the lowest it had come to, though not above where it began', () => {
  const losses = [...run(11, 0.2), ...run(0.2, 9)]
  expect(watch(steps(losses))).toThrow(/the loss rose from 1\.\d+ in steps 16 to 25 to \d/)
})

it('losses recorded before a resumed training count', () => {
  const records = steps([...run(11, 0.2), ...run(0.2, 9)])
  expect(watch(records.slice(20), records.slice(0, 20))).toThrow(/in steps 16 to 25 to/)
  expect(watch(records.slice(20))).toThrow(/steps 21 to 30/)
})

it('spikes, plateaus and the noise of small batches are not', () => {
  const noise = Array.from({ length: 200 }, (_, at) => 0.4 + (at % 20 === 0 ? 8 : 0) + (at % 3) / 2)
  expect(watch(steps(noise))).not.toThrow()
  expect(watch(steps([...run(11, 1), ...run(1, 2.5)]))).not.toThrow()
})
