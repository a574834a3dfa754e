import { expect, test } from 'vitest'
import { HostBuffers } from './host-buffers.ts'

const config = {
  layers: 1,
  d: 4,
  heads: 1,
  kvHeads: 1,
  headDim: 4,
  ffn: 4,
  vocab: 4,
  contextLength: 16,
  rotary: [{ theta: 10_000 }],
  rmsEps: 1e-5,
  tiedHead: true,
}

test('the tensors of twice as many places as there are stay bound, and those longest unused are released', () => {
  const bound = new Set<object>()
  const buffers = new HostBuffers(config, {
    places: 4,
    type: 'f32',
    bind: (tensors) => {
      const made = { ...tensors, [Symbol.dispose]: () => void bound.delete(made) }
      bound.add(made)
      return made
    },
  })
  buffers.reset(16)
  const places = [1, 2, 3, 4].flatMap((count) =>
    Array.from({ length: 5 - count }, (_, first) => ({ first, count })),
  )
  expect(places.length).toBe(10)
  const [first, second] = places.map((each) => buffers.tensors(each))
  expect(bound.size).toBe(8)
  expect(bound.has(first ?? {}) || bound.has(second ?? {})).toBe(false)
  const third = buffers.tensors({ first: 2, count: 1 })
  expect(buffers.tensors({ first: 0, count: 1 })).not.toBe(first)
  expect(bound.size).toBe(8)
  expect(buffers.tensors({ first: 2, count: 1 })).toBe(third)
  buffers.release()
  expect(bound.size).toBe(0)
})
