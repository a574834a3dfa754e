import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type AdapterFile,
  AdapterMetadata,
  adapterTensorSpecs,
  parseAdapterFile,
  serializeAdapterFile,
} from './adapter-file.ts'
import { elementBytes, serializeSafeTensors, type Tensor } from './safetensors.ts'

const common = {
  format: 'quartet-adapter/1',
  backbone: 'tiny',
  backbone_sha256: 'ab'.repeat(32),
  d: '8',
  layers: '2',
  l_sp: '4',
}
const iapt = { ...common, kind: 'iapt', anchor: 'sink', m: '3', window: '16' }

function filled(strings: Record<string, string>): AdapterFile {
  const metadata = AdapterMetadata.parse(strings)
  const tensors = new Map<string, Tensor>()
  for (const [name, { dtype, shape }] of adapterTensorSpecs(metadata)) {
    const bytes = shape.reduce((product, n) => product * n, elementBytes[dtype])
    tensors.set(name, { dtype, shape, data: new Uint8Array(bytes).fill(0x11) })
  }
  return { metadata, provenance: { 'train.seed': '7' }, tensors }
}

function fileOf({
  metadata,
  tensors,
}: {
  metadata: Record<string, string>
  tensors: AdapterFile['tensors']
}) {
  return serializeSafeTensors({ metadata, tensors })
}

test.each([
  ['iapt', iapt],
  ['iapt with its own anchors behind the first token', { ...iapt, anchor: 'own', placement: 'after-first' }],
  ['iapt with GELU, which has no coefficients', { ...iapt, activation: 'gelu' }],
  ['static', { ...common, kind: 'static' }],
])('%s survives writing and reading', (_, strings) => {
  const adapter = filled(strings)
  expect(parseAdapterFile(serializeAdapterFile(adapter))).toEqual(adapter)
})

test.each([
  ['kind', { ...iapt, kind: 'lora' }],
  ['window', { ...iapt, window: '0' }],
  ['window', { ...iapt, window: '100000' }],
  ['m', { ...iapt, m: '1e3' }],
  ['backbone_sha256', { ...iapt, backbone_sha256: '../../etc/passwd' }],
  ['anchor', { ...iapt, anchor: 'heavy' }],
])('a wrong %s is refused by name', (key, strings) => {
  const { tensors } = filled(iapt)
  expect(() => parseAdapterFile(fileOf({ metadata: strings, tensors }))).toThrow(
    new RegExp(`metadata ${key}`),
  )
})

test('metadata that nobody defined are refused, provenance is kept', () => {
  const { tensors } = filled(iapt)
  expect(() => parseAdapterFile(fileOf({ metadata: { ...iapt, colour: 'red' }, tensors }))).toThrow(/colour/)
  expect(parseAdapterFile(fileOf({ metadata: { ...iapt, 'train.x': 'y' }, tensors })).provenance).toEqual({
    'train.x': 'y',
  })
})

function withTensor(name: string, replacement: Tensor | undefined) {
  const tensors = new Map(filled(iapt).tensors)
  if (replacement === undefined) tensors.delete(name)
  else tensors.set(name, replacement)
  return fileOf({ metadata: iapt, tensors })
}

const halfNaN = new Uint8Array(48).fill(0)
halfNaN[21] = 0x7e
const floatInfinity = new Uint8Array(48)
new DataView(floatInfinity.buffer).setFloat32(44, -Number.POSITIVE_INFINITY, true)

test.each([
  ['is missing', 'layers.1.down', undefined],
  ['holds NaN', 'layers.0.down', { dtype: 'F16', shape: [8, 3], data: halfNaN }],
  ['holds NaN or infinity', 'layers.1.rational', { dtype: 'F32', shape: [12], data: floatInfinity }],
  ['has shape [3,8]', 'layers.0.down', { dtype: 'F16', shape: [3, 8], data: new Uint8Array(48) }],
  ['has dtype F32', 'layers.0.query', { dtype: 'F32', shape: [3, 4], data: new Uint8Array(48) }],
] as const)('a tensor that %s is refused by name', (problem, name, tensor) => {
  const attempt = () => parseAdapterFile(withTensor(name, tensor))
  expect(attempt).toThrow(name)
  expect(attempt).toThrow(problem)
})

test('a tensor that does not belong is refused by name', () => {
  const stray: Tensor = { dtype: 'F16', shape: [1], data: new Uint8Array(2) }
  expect(() => parseAdapterFile(withTensor('layers.2.down', stray))).toThrow(
    /unexpected tensor layers\.2\.down/,
  )
})

test('no damaged file gets through as anything but one clear refusal or the same shapes', () => {
  const file = serializeAdapterFile(filled(iapt))
  fc.assert(
    fc.property(fc.nat(file.length - 1), fc.nat(255), fc.boolean(), (at, value, cut) => {
      const damaged = cut ? file.slice(0, at) : file.slice()
      if (!cut) damaged[at] = value
      try {
        expect(parseAdapterFile(damaged).tensors.size).toBe(filled(iapt).tensors.size)
      } catch (error) {
        expect(error).toMatchObject({ name: 'QuartetError', code: 'adapter_invalid' })
      }
    }),
    { numRuns: 500 },
  )
})
