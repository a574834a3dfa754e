import { expect, test } from 'vitest'
import { Clock } from './gpu-clock.ts'

test('a part begins only where the time that similar ones took is left', () => {
  const clock = new Clock(2)
  const decode = (batch: number, size: number) => ({ like: [`decode ${batch}`, 'decode'], size })
  expect(clock.obstacle(decode(8, 1000))).toBeUndefined()
  clock.took(10, decode(8, 10))
  expect(clock.obstacle(decode(8, 60))).toBeUndefined()
  expect(clock.obstacle(decode(8, 200))).toContain('about 200 s')
  // One of another batch takes as long for its size until there has been one.
  expect(clock.obstacle(decode(32, 200))).toContain('about 200 s')
  clock.took(1, decode(32, 10))
  expect(clock.obstacle(decode(32, 200))).toBeUndefined()
  expect(clock.obstacle(decode(8, 200))).toContain('about 200 s')
  expect(clock.obstacle({ like: ['another'] })).toBeUndefined()
})

test('nothing begins in the last seconds, which are for giving back what was loaded', () => {
  expect(new Clock(60).obstacle()).toBeUndefined()
  expect(new Clock(1e-9).obstacle()).toContain('no time')
})
