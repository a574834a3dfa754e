import { expect, test } from 'vitest'
import { checkAdapter } from './adapter-file.ts'
import { QuartetError } from './errors.ts'
import { parseHeader } from './safetensors.ts'

const headerBytes = 256 * 1024
const names = (length: number) =>
  Array.from({ length: Math.floor(headerBytes / length) }, (_, at) => `n${at}`)
const empty = { dtype: 'F16', shape: [0], data_offsets: [0, 0] }

function refusal(header: object): QuartetError {
  const json = new TextEncoder().encode(JSON.stringify(header))
  try {
    const { entries, metadata } = parseHeader(json, 8 + json.length)
    checkAdapter(metadata, entries)
  } catch (thrown) {
    if (thrown instanceof QuartetError) return thrown
    throw thrown
  }
  throw new Error('the header was taken')
}

test.each<[string, object]>([
  ['wrong tensors', Object.fromEntries(names(10).map((name) => [name, 1]))],
  ['wrong metadata', { __metadata__: Object.fromEntries(names(10).map((name) => [name, 1])) }],
  ['unknown keys', { __metadata__: Object.fromEntries(names(14).map((name) => [name, ''])) }],
  ['a long name', { ['n'.repeat(headerBytes)]: empty }],
  ['a long type', { n: { ...empty, dtype: 'F'.repeat(headerBytes) } }],
  [
    'keys beside those of a tensor',
    { n: { ...empty, ...Object.fromEntries(names(10).map((name) => [name, 1])) } },
  ],
])('a header that is full of %s is refused in one short line', (_, header) => {
  const { code, message, param } = refusal(header)
  expect(code).toBe('adapter_invalid')
  expect(message.length + (param?.length ?? 0)).toBeLessThan(1_200)
})
