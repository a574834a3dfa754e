import { describe, expect, it } from 'vitest'
import { ReplayCache } from './replay-cache.ts'

describe('the replay cache', () => {
  it('lets each token id in once until it has expired', () => {
    const cache = new ReplayCache()
    cache.use('a', { expires: 100, now: 50 })
    expect(() => cache.use('a', { expires: 100, now: 104 })).toThrow(
      expect.objectContaining({ code: 'invalid_node_token' }),
    )
    cache.use('b', { expires: 200, now: 150 })
    cache.use('a', { expires: 200, now: 150 })
  })

  it('refuses rather than forgets when it is full', () => {
    const cache = new ReplayCache(2)
    cache.use('a', { expires: 100, now: 50 })
    cache.use('b', { expires: 100, now: 50 })
    expect(() => cache.use('c', { expires: 100, now: 50 })).toThrow(
      expect.objectContaining({ code: 'node_unavailable' }),
    )
    cache.use('c', { expires: 300, now: 200 })
  })
})
