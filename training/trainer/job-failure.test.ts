import { expect, it } from 'vitest'
import { QuartetError } from '../../shared/errors.ts'
import { divergence } from '../divergence.ts'
import { failureReport } from './job-failure.ts'

it('a job whose training diverges fails, and says which of its fields to change', () => {
  const report = failureReport(divergence('the loss is NaN at step 3'))
  expect(report).toMatchObject({ type: 'failed', code: 'training_diverged', param: null })
  const message = 'message' in report ? report.message : ''
  expect(message).toMatch(/^training stopped: the loss is NaN at step 3; .*half the learning_rate_multiplier/)
  expect(message).not.toMatch(/--[a-z]/)
})

it('a job whose trainer fails for a reason of its own is left to another one', () => {
  for (const code of ['internal_error', 'node_unavailable', 'rate_limited'] as const)
    expect(failureReport(new QuartetError(code, 'the disk is full'))).toEqual({
      type: 'released',
      why: 'failed',
    })
})
