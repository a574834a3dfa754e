import { expect, test } from 'vitest'
import { readGgufHeader } from './gguf-header.ts'

const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer)
const u64 = (value: number) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer)
const text = (value: string) => Buffer.concat([u64(value.length), Buffer.from(value)])
const [u8, arrayOf, millions] = [0, 9, 2_000_000]

/** A header of so many arrays of bytes, two million in each. */
function ofArrays(count: number) {
  const arrays = Array.from({ length: count }, (_, at) =>
    Buffer.concat([text(`a${at}`), u32(arrayOf), u32(u8), u64(millions), Buffer.alloc(millions)]),
  )
  const bytes = Buffer.concat([Buffer.from('GGUF'), u32(3), u64(0), u64(count), ...arrays])
  return {
    path: 'hostile.gguf',
    bytes: bytes.length,
    readBytes: async (start: number, length: number) => bytes.subarray(start, start + length),
  }
}

test('arrays that are short enough each are refused when they announce too many values together', async () => {
  expect((await readGgufHeader(ofArrays(4))).metadata).toHaveProperty('a3')
  await expect(readGgufHeader(ofArrays(5))).rejects.toThrow(
    /arrays announce more than 8000000 values together/,
  )
})
