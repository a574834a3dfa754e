import { expect, test } from 'vitest'
import { QuartetError, toQuartetError } from './errors.ts'

test('an error answers in the shape of OpenAI, with its code and parameter', () => {
  const error = new QuartetError('unsupported_parameter', 'best_of is not supported', { param: 'best_of' })
  expect(error.status).toBe(400)
  expect(error.toBody()).toEqual({
    error: {
      message: 'best_of is not supported',
      type: 'invalid_request_error',
      param: 'best_of',
      code: 'unsupported_parameter',
    },
  })
})

test('an error thrown by accident never shows its text to a client', () => {
  const error = toQuartetError(new Error('password=hunter2'))
  expect(error.status).toBe(500)
  expect(JSON.stringify(error.toBody())).not.toContain('hunter2')
  expect(error.cause).toMatchObject({ message: 'password=hunter2' })
})
