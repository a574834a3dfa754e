import { describe, expect, test } from 'vitest'
import { AdapterDigest, AliasName, BackboneSlug, newRequestId } from '../../shared/ids.ts'
import type { AliasRecord } from '../store/records.ts'
import { type Asker, chooseTarget } from './choose-target.ts'

const alias = AliasName.parse('tone')
const target = (digit: string) => ({
  digest: AdapterDigest.parse(digit.repeat(64)),
  backbone: BackboneSlug.parse('tiny'),
  rows: 4,
})
const draws = 20_000

/** How many of the askers the canary takes. */
function taken(canary: Pick<NonNullable<AliasRecord['canary']>, 'percent' | 'by'>, askers: readonly Asker[]) {
  const record: AliasRecord = {
    ...target('a'),
    updatedAt: 0,
    version: 2,
    canary: { ...target('b'), ...canary },
  }
  const trial = target('b').digest
  return askers.filter((asker) => chooseTarget(alias, record, asker).digest === trial).length
}

/** Five standard deviations of a binomial count: by chance, one of two million correct runs is beyond. */
function expectShare(count: number, percent: number): void {
  const share = percent / 100
  const tolerance = 5 * Math.sqrt(draws * share * (1 - share))
  expect(Math.abs(count - draws * share), `${count} of ${draws} at ${percent} %`).toBeLessThan(tolerance)
}

describe.each([1, 10, 50, 90, 99])('a canary of %i percent', (percent) => {
  test('takes that share of the requests, of one user’s as well', () => {
    const requests = Array.from({ length: draws }, () => ({ requestId: newRequestId(), user: 'the same' }))
    expectShare(taken({ percent, by: 'request' }, requests), percent)
  })

  test('by user takes that share of the users', () => {
    const users = Array.from({ length: draws }, (_, at) => ({
      requestId: newRequestId(),
      user: `user-${at}`,
    }))
    expectShare(taken({ percent, by: 'user' }, users), percent)
  })

  test.each([undefined, ''])('by user takes that share of the requests that name no user: %j', (user) => {
    const requests = Array.from({ length: draws }, () => ({ requestId: newRequestId(), user }))
    expectShare(taken({ percent, by: 'user' }, requests), percent)
  })
})
