import { expect, test } from 'vitest'
import { allFinite } from './finite.ts'

test('every f16 value is told finite or not by its exponent, wherever it stands', () => {
  const told = (bits: number, at: 0 | 1) => {
    const values = new Uint16Array(2)
    values[at] = bits
    return allFinite(new Uint8Array(values.buffer), 'F16')
  }
  const every = Array.from({ length: 0x10000 }, (_, bits) => bits)
  const finite = every.filter((bits) => (bits & 0x7c00) !== 0x7c00)
  for (const at of [0, 1] as const) expect(every.filter((bits) => told(bits, at))).toEqual(finite)
})

const length = 9_001

test.each([
  ['F16', 'NaN', () => new Uint16Array(length).fill(0x7bff), 0x7e01],
  ['F16', 'infinity', () => new Uint16Array(length).fill(0xfbff), 0x7c00],
  ['F16', '-infinity', () => new Uint16Array(length), 0xfc00],
  ['F32', 'NaN', () => new Float32Array(length).fill(-3.4e38), Number.NaN],
  ['F32', 'infinity', () => new Float32Array(length).fill(3.4e38), Number.POSITIVE_INFINITY],
  ['F32', '-infinity', () => new Float32Array(length), Number.NEGATIVE_INFINITY],
] as const)(
  'in %s one %s among finite values is found, wherever the bytes begin',
  (type, _name, make, bad) => {
    const values = make()
    const placed = (offset: number) => {
      const file = new Uint8Array(offset + values.byteLength)
      file.set(new Uint8Array(values.buffer), offset)
      return file.subarray(offset)
    }
    for (const offset of [0, 1, 2, 3]) expect(allFinite(placed(offset), type)).toBe(true)
    values[length - 2] = bad
    for (const offset of [0, 1, 2, 3]) expect(allFinite(placed(offset), type)).toBe(false)
  },
)
