import { expect, test } from 'vitest'
import { pushTimeoutMs } from '../../shared/wire.ts'
import { requestTimeout } from './listen.ts'

test('a node waits for a body for longer than an edge pushes an adapter: a slow push ends as the edge’s, not as its failure', () => {
  expect(requestTimeout).toBeGreaterThan(pushTimeoutMs)
})
