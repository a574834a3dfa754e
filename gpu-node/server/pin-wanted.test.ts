import { expect, it } from 'vitest'
import { QuartetError } from '../../shared/errors.ts'
import { AdapterDigest } from '../../shared/ids.ts'
import { fakeAdapter } from '../../test/fakes/fake-adapter.ts'
import { FakeBackend } from '../../test/fakes/fake-backend.ts'
import { pinWanted } from './pin-wanted.ts'

const digest = (n: number) => AdapterDigest.parse(n.toString(16).padStart(64, '0'))
const [first, second, inFront, absent] = [digest(1), digest(2), digest(3), digest(4)]

function shelf() {
  const pins = new Map<AdapterDigest, number>()
  const count = (of: AdapterDigest, change: number) => pins.set(of, (pins.get(of) ?? 0) + change)
  return {
    pinned: () => [...pins.values()].reduce((sum, each) => sum + each, 0),
    stack: (...args: Parameters<FakeBackend['stack']>) => new FakeBackend().stack(...args),
    pin(of: AdapterDigest) {
      if (of === absent) throw new QuartetError('adapter_missing', 'it is not here')
      count(of, 1)
      const loaded = fakeAdapter({ identity: 1, rows: 3, ...(of === inFront ? {} : { tail: 4, window: 9 }) })
      return { loaded, release: () => void count(of, -1) }
    },
  }
}

it('keeps every part of a stack resident until it is released', () => {
  const resident = shelf()
  const stack = pinWanted({ adapter: first, behind: [second] }, resident)
  expect(stack?.loaded).toMatchObject({ rows: 6, tail: 4, window: 9 })
  expect(resident.pinned()).toBe(2)
  stack?.release()
  expect(resident.pinned()).toBe(0)
  expect(pinWanted({ adapter: null }, resident)).toBeNull()
})

it.each([
  ['a part that is not there', { adapter: first, behind: [absent] }, 'adapter_missing'],
  ['a part that is not late', { adapter: first, behind: [inFront] }, 'invalid_request'],
  ['parts behind the untuned backbone', { adapter: null, behind: [first] }, 'invalid_request'],
  [
    'log-probabilities of a prompt',
    { adapter: first, behind: [second], promptLogprobs: 1 },
    'invalid_request',
  ],
])('keeps nothing of a stack that it refuses: %s', (_, wanted, code) => {
  const resident = shelf()
  expect(() => pinWanted(wanted, resident)).toThrow(expect.objectContaining({ code }))
  expect(resident.pinned()).toBe(0)
})
