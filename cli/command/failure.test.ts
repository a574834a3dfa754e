import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { QuartetError } from '../../shared/errors.ts'
import { CliFailure, describeFailure } from './failure.ts'

const systemError = (code: string, path?: string) =>
  Object.assign(new Error(`${code}: something, write`), { code, path })

describe('the message of a failed command', () => {
  it('is one line with what is wrong and the remedy', () => {
    const failure = new CliFailure('port 8787 is in use', { remedy: 'choose another with --edge-port' })
    expect(describeFailure(failure)).toBe('port 8787 is in use; choose another with --edge-port')
  })

  it('names the full disk however deep it lies', () => {
    const deep = new QuartetError('internal_error', 'internal error', {
      cause: new Error('could not convert', { cause: systemError('ENOSPC', '/data/weights.bin') }),
    })
    expect(describeFailure(deep)).toMatch(/^the disk is full \(\/data\/weights\.bin\); free some space/)
  })

  it('survives an error that causes itself', () => {
    const loop = new Error('loop')
    loop.cause = loop
    expect(describeFailure(loop)).toContain('loop')
  })

  it("keeps the edge's own words", () => {
    expect(describeFailure(new QuartetError('conflict', 'the tenant acme exists'))).toBe(
      'the tenant acme exists',
    )
  })

  it('puts a schema’s complaints on one line', () => {
    const parsed = z.object({ port: z.int(), home: z.string() }).safeParse({})
    expect(describeFailure(parsed.error)).not.toContain('\n')
  })

  it('points to --debug when nobody foresaw it', () => {
    expect(describeFailure(new TypeError('x is\nundefined'))).toBe('x is undefined (--debug shows where)')
  })
})
