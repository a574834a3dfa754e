import { Command } from 'commander'
import { expect, test } from 'vitest'
import { TenantPolicyChange } from '../shared/api/policy.ts'
import { addPolicyOptions, policyOf } from './policy-options.ts'

const read = (...words: string[]) =>
  policyOf(addPolicyOptions(new Command()).exitOverride().parse(words, { from: 'user' }))

test('every field of a policy can be set from the command line', () => {
  const set = read(
    ...'--requests-per-minute 1 --tokens-per-minute 2 --concurrent-requests 3 --tokens-per-day 4'.split(' '),
    ...'--tokens-per-month none --adapter-bytes 6 --file-bytes 7 --training-tokens-per-month 8'.split(' '),
    ...'--cached-token-share 0.1 --batch-token-share 0.25 --shadow-tokens-per-day 9 --models tone,tiny --unknown-parameters refuse'.split(
      ' ',
    ),
  )
  expect(set).toEqual({
    requestsPerMinute: 1,
    tokensPerMinute: 2,
    concurrentRequests: 3,
    tokensPerDay: 4,
    tokensPerMonth: null,
    adapterBytes: 6,
    fileBytes: 7,
    trainingTokensPerMonth: 8,
    shadowTokensPerDay: 9,
    cachedTokenShare: 0.1,
    batchTokenShare: 0.25,
    aliases: ['tone', 'tiny'],
    strictParameters: true,
  })
  expect(Object.keys(set).toSorted()).toEqual(Object.keys(TenantPolicyChange.shape).toSorted())
})
