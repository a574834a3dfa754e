import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type FileTensor, parseSafeTensors, readHeaderLength, serializeSafeTensors } from './safetensors.ts'

const tensor = (values: readonly number[]): FileTensor => ({
  dtype: 'F32',
  shape: [values.length],
  data: new Uint8Array(new Float32Array(values).buffer),
})

function fileWithHeader(header: unknown, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header))
  const file = new Uint8Array(8 + json.length + dataBytes)
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true)
  file.set(json, 8)
  return file
}

test('a written file is read back, and writing it again gives the same bytes', () => {
  const arbitraryTensors = fc.dictionary(
    fc.stringMatching(/^[a-zé.0-9]{1,20}$/).filter((name) => name !== '__metadata__' && name !== '__proto__'),
    fc.array(fc.float({ noNaN: true }), { maxLength: 9 }),
  )
  fc.assert(
    fc.property(arbitraryTensors, fc.dictionary(fc.string(), fc.string()), (lists, free) => {
      const metadata = Object.fromEntries(Object.entries(free).filter(([key]) => key !== '__proto__'))
      const tensors = new Map(Object.entries(lists).map(([name, values]) => [name, tensor(values)]))
      const file = serializeSafeTensors({ metadata, tensors })
      const read = parseSafeTensors(file)
      expect(read.metadata).toEqual(metadata)
      expect([...read.tensors.keys()].sort()).toEqual([...tensors.keys()].sort())
      for (const [name, { data }] of tensors) expect(read.tensors.get(name)?.data).toEqual(data)
      expect(serializeSafeTensors(read)).toEqual(file)
    }),
  )
})

test('a header length beyond the file is refused before anything of that size is touched', () => {
  const file = fileWithHeader({}, 0)
  new DataView(file.buffer).setBigUint64(0, 2n ** 63n, true)
  expect(() => readHeaderLength(file, file.length)).toThrow(/claims 9223372036854775808 bytes/)
  expect(() => parseSafeTensors(file.subarray(0, 5))).toThrow(/shorter than/)
})

const entry = (start: number, end: number, shape = [1]) => ({
  dtype: 'F32',
  shape,
  data_offsets: [start, end],
})

test.each([
  ['overlapping tensors', { a: entry(0, 4), b: entry(0, 4) }, 4, /overlap or leave gaps/],
  ['a gap', { a: entry(0, 4), b: entry(8, 12) }, 12, /overlap or leave gaps/],
  ['trailing bytes', { a: entry(0, 4) }, 5, /end at byte/],
  ['missing bytes', { a: entry(0, 4) }, 3, /end at byte/],
  ['a shape that needs other bytes', { a: entry(0, 4, [2]) }, 4, /needs 8 bytes and has 4/],
  ['a shape whose size overflows', { a: entry(0, 4, [2 ** 30, 2 ** 30, 2 ** 30]) }, 4, /needs/],
  ['an unknown dtype', { a: { dtype: 'Q9', shape: [1], data_offsets: [0, 4] } }, 4, /unsupported dtype Q9/],
  ['negative offsets', { a: entry(-4, 0) }, 4, /malformed/],
  ['a header that is not JSON', '{"a":', 0, /not JSON/],
  ['metadata that are no strings', { __metadata__: { a: 1 } }, 0, /malformed/],
])('%s: refused', (_, header, dataBytes, message) => {
  expect(() => parseSafeTensors(fileWithHeader(header, dataBytes))).toThrow(message)
})

test.each([
  ['a tensor twice', `{"t":${JSON.stringify(entry(0, 4))},"t":${JSON.stringify(entry(0, 4))}}`],
  [
    'a key of the metadata twice',
    `{"__metadata__":{"kind":"iapt","kind":"static"},"t":${JSON.stringify(entry(0, 4))}}`,
  ],
  ['__proto__', `{"__proto__":${JSON.stringify(entry(0, 4))}}`],
  ['__proto__ in the metadata', `{"__metadata__":{"__proto__":"x"},"t":${JSON.stringify(entry(0, 4))}}`],
])(
  'a header that names %s is refused, so that no two readers take it for different files',
  (_name, header) => {
    expect(() => parseSafeTensors(fileWithHeader(header, 4))).toThrow(
      expect.objectContaining({
        code: 'adapter_invalid',
        message: expect.stringMatching(/in its header the name/),
      }),
    )
  },
)
