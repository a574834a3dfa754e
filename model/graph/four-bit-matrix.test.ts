import { expect, test } from 'vitest'
import { pairs, unpaired } from './four-bit-matrix.ts'

test('numbers of four bits lie two a byte, the first in the low half, and come back', () => {
  expect([...pairs(Uint8Array.of(1, 2, 3, 4, 5, 6))]).toEqual([0x21, 0x43, 0x65])
  expect([...unpaired(Uint8Array.of(0x21, 0x43, 0x65))]).toEqual([1, 2, 3, 4, 5, 6])
})
