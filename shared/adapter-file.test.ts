import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type AdapterFile,
  AdapterMetadata,
  adapterTensorSpecs,
  parseAdapterFile,
  serializeAdapterFile,
} from './adapter-file.ts'
import { elementBytes, type FileTensor, serializeSafeTensors } from './safetensors.ts'

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
  const tensors = new Map<string, FileTensor>()
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
  ['static in f32', { ...common, kind: 'static', precision: 'f32' }],
  ['idpg', { ...iapt, kind: 'idpg', pool: 'max' }],
  ['idpg with one generator for all layers', { ...iapt, kind: 'idpg', generator: 'shared', anchor: 'own' }],
  ['idpg of one layer', { ...iapt, kind: 'idpg', at: '1', anchor: 'own' }],
  ['lpt', { ...iapt, kind: 'lpt', at: '0' }],
  ['lpt of pooled means', { ...iapt, kind: 'lpt', at: '1', pool: 'mean', activation: 'relu' }],
  ['ipt', { ...iapt, kind: 'ipt', vocab: '9', anchor: 'own' }],
  ['iapt with late rows', { ...iapt, placement: 'late', tail: '4' }],
  ['static with late rows', { ...common, kind: 'static', placement: 'late', tail: '1' }],
  ['idpg with late rows', { ...iapt, kind: 'idpg', generator: 'shared', placement: 'late', tail: '64' }],
])('%s survives writing and reading', (_, strings) => {
  const adapter = filled(strings)
  expect(parseAdapterFile(serializeAdapterFile(adapter))).toEqual(adapter)
})

test.each([
  [{ ...iapt, kind: 'idpg' }, ['layers.0.down', 'layers.0.up', 'layers.0.rational', 'layers.1.down', '…']],
  [
    { ...iapt, kind: 'idpg', generator: 'shared', anchor: 'own', activation: 'gelu' },
    ['shared.down', 'shared.up', 'layers.0.anchor', 'layers.1.anchor'],
  ],
  [
    { ...iapt, kind: 'idpg', generator: 'shared', at: '1', anchor: 'own', activation: 'gelu' },
    ['shared.down', 'shared.up', 'layers.1.anchor'],
  ],
  [
    { ...iapt, kind: 'lpt', at: '1', anchor: 'own', activation: 'gelu' },
    ['layers.1.down', 'layers.1.query', 'layers.1.up', 'layers.1.anchor'],
  ],
  [{ ...iapt, kind: 'lpt', at: '0', pool: 'max', activation: 'relu' }, ['layers.0.down', 'layers.0.up']],
  [{ ...iapt, kind: 'ipt', vocab: '9', activation: 'relu' }, ['layers.0.table', 'layers.0.up']],
])('a layer without rows of its own has no tensors: %o', (strings, expected) => {
  const names = [...adapterTensorSpecs(AdapterMetadata.parse(strings)).keys()]
  expect(names.slice(0, expected.length)).toEqual(expected.map((name, i) => (name === '…' ? names[i] : name)))
  if (!expected.includes('…')) expect(names.length).toBe(expected.length)
})

test.each([
  [{ ...iapt, kind: 'idpg' }, 'layers.1.up', [3, 32]],
  [{ ...iapt, kind: 'lpt', at: '1' }, 'layers.1.up', [3, 8]],
  [{ ...iapt, kind: 'lpt', at: '1', pool: 'mean' }, 'layers.1.up', [3, 32]],
  [{ ...iapt, kind: 'ipt', vocab: '9' }, 'layers.0.table', [9, 3]],
])('a vector for each row or one for all decides the shape: %o', (strings, name, shape) => {
  expect(adapterTensorSpecs(AdapterMetadata.parse(strings)).get(name)?.shape).toEqual(shape)
})

test.each([
  ['kind', { ...iapt, kind: 'lora' }],
  ['at', { ...iapt, kind: 'lpt' }],
  ['at', { ...iapt, kind: 'lpt', at: '2' }],
  ['at', { ...iapt, kind: 'lpt', at: '-1' }],
  ['at', { ...iapt, kind: 'lpt', at: '01' }],
  ['at', { ...iapt, kind: 'idpg', at: '2' }],
  ['at', { ...iapt, kind: 'idpg', at: 'first' }],
  ['pool', { ...iapt, kind: 'lpt', at: '1', pool: 'median' }],
  ['pool', { ...iapt, kind: 'idpg', pool: 'attention' }],
  ['generator', { ...iapt, kind: 'idpg', generator: 'many' }],
  ['vocab', { ...iapt, kind: 'ipt' }],
  ['vocab', { ...iapt, kind: 'ipt', vocab: '2000000' }],
  ['activation', { ...iapt, activation: 'swish' }],
  ['placement', { ...iapt, placement: 'last' }],
  ['placement', { ...iapt, kind: 'lpt', at: '1', placement: 'late', tail: '4' }],
  ['placement', { ...iapt, kind: 'ipt', vocab: '9', placement: 'late', tail: '4' }],
  ['placement', { ...iapt, kind: 'idpg', at: '1', placement: 'late', tail: '4' }],
  ['placement', { ...iapt, kind: 'lpt', at: '1', placement: 'turn' }],
  ['placement', { ...iapt, kind: 'ipt', vocab: '9', placement: 'turn' }],
  ['placement', { ...iapt, kind: 'idpg', at: '1', placement: 'turn' }],
  ['tail', { ...iapt, placement: 'turn', tail: '4' }],
  ['tail', { ...iapt, placement: 'late' }],
  ['tail', { ...iapt, placement: 'late', tail: '0' }],
  ['tail', { ...iapt, placement: 'late', tail: '65' }],
  ['tail', { ...iapt, placement: 'after-first', tail: '4' }],
  ['precision', { ...common, kind: 'static', precision: 'f64' }],
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

test.each([
  ['at', { ...iapt, at: '1' }],
  ['pool', { ...iapt, pool: 'mean' }],
  ['m', { ...common, kind: 'static', m: '3' }],
  ['at', { ...iapt, kind: 'ipt', vocab: '9', at: '0' }],
  ['generator', { ...iapt, kind: 'lpt', at: '1', generator: 'shared' }],
])('%s is refused by name in a kind that has none', (key, strings) => {
  const { tensors } = filled(iapt)
  expect(() => parseAdapterFile(fileOf({ metadata: strings, tensors }))).toThrow(new RegExp(`"${key}"`))
})

test('metadata that nobody defined are refused, provenance is kept', () => {
  const { tensors } = filled(iapt)
  expect(() => parseAdapterFile(fileOf({ metadata: { ...iapt, colour: 'red' }, tensors }))).toThrow(/colour/)
  expect(parseAdapterFile(fileOf({ metadata: { ...iapt, 'train.x': 'y' }, tensors })).provenance).toEqual({
    'train.x': 'y',
  })
})

function withTensor(name: string, replacement: FileTensor | undefined) {
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

test.each([
  [iapt, 'layers.2.down'],
  [{ ...iapt, kind: 'idpg', pool: 'mean' }, 'layers.0.query'],
  [{ ...iapt, kind: 'idpg', generator: 'shared' }, 'layers.0.down'],
  [{ ...iapt, kind: 'idpg' }, 'shared.down'],
  [{ ...iapt, kind: 'lpt', at: '1' }, 'layers.0.down'],
  [{ ...iapt, kind: 'ipt', vocab: '9' }, 'layers.0.down'],
  [{ ...common, kind: 'static' }, 'layers.0.anchor'],
])('a tensor that does not belong is refused by name: %o', (metadata, name) => {
  const stray: FileTensor = { dtype: 'F16', shape: [1], data: new Uint8Array(2) }
  const tensors = new Map([...filled(metadata).tensors, [name, stray]])
  expect(() => parseAdapterFile(fileOf({ metadata, tensors }))).toThrow(`unexpected tensor ${name}`)
})

test.each([
  ['layers.0.up', { ...iapt, kind: 'idpg' }],
  ['shared.up', { ...iapt, kind: 'idpg', generator: 'shared' }],
  ['layers.1.query', { ...iapt, kind: 'lpt', at: '1' }],
  ['layers.0.table', { ...iapt, kind: 'ipt', vocab: '9' }],
  ['layers.1.static', { ...common, kind: 'static', precision: 'f32' }],
])('%s is missed, and refused in another shape, where a kind has it', (name, metadata) => {
  const { tensors } = filled(metadata)
  const stored = tensors.get(name)
  if (stored === undefined) throw new Error(`no tensor ${name}`)
  const without = new Map([...tensors].filter(([other]) => other !== name))
  expect(() => parseAdapterFile(fileOf({ metadata, tensors: without }))).toThrow(`tensor ${name} is missing`)
  const turned = new Map([...tensors, [name, { ...stored, shape: stored.shape.toReversed() }]])
  expect(() => parseAdapterFile(fileOf({ metadata, tensors: turned }))).toThrow(`tensor ${name} has shape`)
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
