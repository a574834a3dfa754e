import { expect, it } from 'vitest'
import { argmax } from './logits.ts'

const { NaN: none, NEGATIVE_INFINITY: never, POSITIVE_INFINITY: infinite } = Number

it('the largest logit is found wherever it stands, the first of equals', () => {
  for (let length = 1; length <= 9; length++)
    for (let at = 0; at < length; at++) {
      const logits = new Float32Array(length).fill(-1)
      logits.fill(3, at)
      expect(argmax(logits)).toBe(at)
      expect(argmax(logits.map((_, id) => (id === at ? -2 : -3)))).toBe(at)
      expect(argmax(logits.map((_, id) => (id === at ? 0 : never)))).toBe(at)
    }
})

it('what is no number, infinite, or leaves nothing to choose is refused, wherever it stands', () => {
  for (let length = 1; length <= 9; length++) {
    for (const bad of [none, infinite])
      for (let at = 0; at < length; at++) {
        const logits = Float32Array.from({ length }, (_, id) => (id === at ? bad : length - id))
        expect(() => argmax(logits)).toThrow(expect.objectContaining({ code: 'node_error' }))
      }
    expect(() => argmax(new Float32Array(length).fill(never))).toThrow(/no usable logits/)
  }
  expect(() => argmax(new Float32Array())).toThrow(/no usable logits/)
})
