import { expect, test } from 'vitest'
import { allFinite } from './finite.ts'

const bytesOf = (values: Float32Array | Float16Array) => new Uint8Array(values.buffer)

test('every f16 value is told finite or not as its number says, wherever it stands', () => {
  for (let bits = 0; bits <= 0xffff; bits++) {
    const value = new Float16Array(new Uint16Array([bits]).buffer)[0] ?? 0
    for (const at of [0, 1]) {
      const values = new Uint16Array(2)
      values[at] = bits
      expect(allFinite(new Uint8Array(values.buffer), 'F16')).toBe(Number.isFinite(value))
    }
  }
})

test.each([
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
])('one %d among finite values is found in either type, at any offset of the bytes', (value) => {
  for (const [values, type] of [
    [new Float16Array(9_001).fill(65_504), 'F16'],
    [new Float32Array(9_001).fill(-3.4e38), 'F32'],
  ] as const) {
    expect(allFinite(bytesOf(values), type)).toBe(true)
    values[8_999] = value
    for (const offset of [0, 1, 2, 3]) {
      const file = new Uint8Array(offset + values.byteLength)
      file.set(bytesOf(values), offset)
      expect(allFinite(file.subarray(offset), type)).toBe(false)
    }
  }
})
