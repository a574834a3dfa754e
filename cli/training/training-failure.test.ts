import { expect, it } from 'vitest'
import { divergence } from '../../training/divergence.ts'
import { describeFailure } from '../command/failure.ts'
import { trainingFailure } from './training-failure.ts'

it('a training that diverges says which options to change', () => {
  expect(describeFailure(trainingFailure(divergence('the loss is NaN at step 3')))).toMatch(
    /^training stopped: the loss is NaN at step 3; train anew with --force and half the rates .*--anchor own/,
  )
})

it('any other failure says what it says', () => {
  const full = new Error('the disk is full')
  expect(trainingFailure(full)).toBe(full)
})
