import { describe, expect, it } from 'vitest'
import type { AdapterMetadata } from '../../shared/adapter-file.ts'
import { BackboneDigest, BackboneSlug } from '../../shared/ids.ts'
import {
  type AdapterChoices,
  choicesOf,
  describeAdapter,
  parameterCount,
} from '../../shared/training/describe-adapter.ts'
import { adapterFile, parametersOf } from '../as-written.ts'
import { freshParameters } from './fresh.ts'
import { parametersFrom } from './from-adapter.ts'
import { startFromText } from './from-text.ts'

const config = {
  layers: 3,
  d: 16,
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  ffn: 32,
  vocab: 50,
  contextLength: 64,
  rotary: [{ theta: 1e4 }],
  rmsEps: 1e-5,
  tiedHead: true,
}
const backbone = {
  config,
  slug: BackboneSlug.parse('tiny'),
  digest: BackboneDigest.parse('a'.repeat(64)),
  header: 4,
}
const describeTiny = (choices: AdapterChoices) => describeAdapter(backbone, choices)

/** Layer l's anchor is l + 1 in every place. */
const anchors = Float32Array.from({ length: 48 }, (_, i) => Math.floor(i / 16) + 1)
const fresh = (metadata: AdapterMetadata, rows: 'anchor' | 'random' = 'anchor', seed = 0) =>
  freshParameters(metadata, { seed, rows, anchors, downDeviation: 4 })

const rms = (values: Float32Array = new Float32Array()) =>
  Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length)

describe('unless something else is chosen', () => {
  it('an adapter is iapt with anchors of its own in front of the generation header, GELU and m = 64', () => {
    expect(describeTiny({ kind: 'iapt' })).toMatchObject({
      kind: 'iapt',
      anchor: 'own',
      placement: 'late',
      tail: 4,
      activation: 'gelu',
      m: 64,
      l_sp: 4,
    })
    expect(describeTiny({ kind: 'idpg' })).toMatchObject({
      pool: 'mean',
      generator: 'shared',
      placement: 'late',
    })
    expect(describeTiny({ kind: 'static' })).toMatchObject({ anchor: 'none', placement: 'late' })
  })

  it('rows that cannot be late stand behind the first token', () => {
    const placement = 'after-first'
    expect(describeTiny({ kind: 'lpt' })).toMatchObject({ at: 1, pool: 'attention', placement })
    expect(describeTiny({ kind: 'ipt' })).toMatchObject({ placement })
    expect(describeTiny({ kind: 'idpg', at: 1 })).toMatchObject({ generator: 'own', at: 1, placement })
    for (const kind of ['iapt', 'static', 'idpg'] as const)
      expect(describeAdapter({ ...backbone, header: 0 }, { kind })).toMatchObject({ placement })
  })

  it('a generator of late rows reads the last 64 tokens, and another one the first 512', () => {
    for (const kind of ['iapt', 'idpg'] as const) {
      expect(describeTiny({ kind })).toMatchObject({ placement: 'late', window: 64 })
      expect(describeTiny({ kind, placement: 'late' })).toMatchObject({ window: 64 })
      for (const placement of ['turn', 'after-first', 'first'] as const)
        expect(describeTiny({ kind, placement })).toMatchObject({ placement, window: 512 })
      expect(describeAdapter({ ...backbone, header: 0 }, { kind })).toMatchObject({ window: 512 })
      expect(describeTiny({ kind, window: 40 })).toMatchObject({ placement: 'late', window: 40 })
    }
    for (const kind of ['lpt', 'ipt'] as const) expect(describeTiny({ kind })).toMatchObject({ window: 512 })
    const chosen = describeTiny({ kind: 'iapt', window: 512 })
    expect(describeTiny(choicesOf(chosen))).toEqual(chosen)
  })

  it('late rows leave the generation header behind them, and need one', () => {
    for (const kind of ['iapt', 'static', 'idpg'] as const)
      expect(describeTiny({ kind, placement: 'late' })).toMatchObject({ placement: 'late', tail: 4 })
    expect(describeTiny({ kind: 'iapt', placement: 'turn' }).tail).toBeUndefined()
    expect(() => describeAdapter({ ...backbone, header: 0 }, { kind: 'iapt', placement: 'late' })).toThrow(
      /no generation header, so rows cannot be late; give another --placement/,
    )
  })

  it('rows start as the anchor of their layer and a trace of noise, with nothing generated yet', () => {
    const start = fresh(describeTiny({ kind: 'iapt' }))
    for (const layer of [0, 1, 2]) {
      const rows = start.get(`layers.${layer}.anchor`)
      expect(rms(rows?.map((value) => value - layer - 1))).toBeGreaterThan(0.005)
      expect(rms(rows?.map((value) => value - layer - 1))).toBeLessThan(0.015)
      expect(rms(start.get(`layers.${layer}.up`))).toBe(0)
    }
    const table = fresh(describeTiny({ kind: 'static' })).get('layers.2.static')
    expect(rms(table?.map((value) => value - 3))).toBeLessThan(0.015)
  })

  it('the down-projection spreads what it reads, of unit RMS, by the deviation that is chosen', () => {
    for (const downDeviation of [1, 4]) {
      const start = freshParameters(describeTiny({ kind: 'iapt' }), {
        seed: 0,
        rows: 'anchor',
        anchors,
        downDeviation,
      })
      const ratio = (4 * rms(start.get('layers.1.down'))) / downDeviation
      expect(ratio).toBeGreaterThan(0.95)
      expect(ratio).toBeLessThan(1.05)
    }
  })

  it('rows beside the backbone’s own anchor start as the difference from it', () => {
    const table = fresh(describeTiny({ kind: 'static', anchor: 'sink' })).get('layers.2.static')
    expect(rms(table)).toBeLessThan(0.015)
  })

  it('rows without an anchor are not zero, which would have no direction', () => {
    expect(rms(fresh(describeTiny({ kind: 'iapt', anchor: 'none' })).get('layers.0.up'))).toBeGreaterThan(
      0.05,
    )
  })
})

it('random rows are of the anchor’s size', () => {
  const rows = fresh(describeTiny({ kind: 'static' }), 'random').get('layers.1.static')
  expect(rms(rows)).toBeGreaterThan(0.7)
  expect(rms(rows)).toBeLessThan(1.3)
})

describe('a random start', () => {
  it.each<AdapterChoices>([
    { kind: 'iapt', anchor: 'sink' },
    { kind: 'lpt', anchor: 'none' },
    { kind: 'static', anchor: 'sink' },
  ])('is refused where no rows would start at random: %j', (choices) => {
    expect(() => fresh(describeTiny(choices), 'random')).toThrow(
      /no rows of its own that could start at random; use --anchor own, or leave --init random out/,
    )
  })

  it.each<[AdapterChoices, string]>([
    [{ kind: 'ipt' }, 'layers.0.anchor'],
    [{ kind: 'static', anchor: 'own' }, 'layers.1.anchor'],
  ])('is of the rows that are the adapter’s own: %j', (choices, tensor) => {
    const metadata = describeTiny(choices)
    expect(fresh(metadata, 'random').get(tensor)).not.toEqual(fresh(metadata).get(tensor))
  })
})

it('every kind has a start for every tensor, the same for the same seed', () => {
  for (const kind of ['iapt', 'static', 'idpg', 'lpt', 'ipt'] as const) {
    const metadata = describeTiny({ kind, ...(kind === 'static' ? {} : { activation: 'rational' }) })
    const start = fresh(metadata)
    expect([...start.values()].reduce((sum, { length }) => sum + length, 0)).toBe(parameterCount(metadata))
    expect(fresh(metadata)).toEqual(start)
    expect(fresh(metadata, 'anchor', 1)).not.toEqual(start)
  }
})

describe('choices that do not fit are refused with the option at fault:', () => {
  it.each<[AdapterChoices, RegExp]>([
    [{ kind: 'static', m: 8 }, /kind static has no m; leave --m out/],
    [{ kind: 'iapt', at: 1 }, /kind iapt has no at/],
    [{ kind: 'lpt', at: 3 }, /--at 3: the backbone has 3 layers, which count from 0 to 2/],
    [{ kind: 'idpg', at: 1, generator: 'shared' }, /--generator own, or leave it out/],
    [{ kind: 'idpg', pool: 'attention' }, /--pool/],
  ])('%j', (choices, says) => {
    expect(() => describeTiny(choices)).toThrow(says)
  })

  it('an adapter too large to be served', () => {
    const large = { ...backbone, config: { ...config, d: 4096, layers: 40 } }
    expect(() => describeAdapter(large, { kind: 'iapt', m: 512 })).toThrow(/smaller --m or fewer --rows/)
  })
})

describe('a start from another adapter', () => {
  const metadata = describeTiny({ kind: 'static', rows: 2 })
  if (metadata.kind !== 'static') throw new Error('another kind')
  const file = (of: AdapterMetadata, scale = 1) => {
    const parameters = new Map(
      [...fresh(of, 'anchor', 9)].map(([name, values]) => [name, values.map((x) => scale * x)]),
    )
    return adapterFile(of, { parameters, provenance: { 'train.seed': '9' } })
  }

  it.each<AdapterChoices>([
    { kind: 'iapt' },
    { kind: 'static', anchor: 'own' },
    { kind: 'static', anchor: 'sink' },
  ])('has its values where rows are sums: %j', (choices) => {
    const of = describeTiny(choices)
    expect(parametersFrom(file(of, 40), of)).toEqual(parametersOf(file(of, 40)))
  })

  it.each(['f16', 'f32'] as const)(
    'has rows of their own in %s at unit RMS, whatever their size',
    (precision) => {
      const rowsOf = (scale: number) =>
        parametersFrom(file({ ...metadata, precision }, scale), metadata).get('layers.2.static')
      for (const row of [0, 1]) expect(rms(rowsOf(500)?.subarray(16 * row, 16 * row + 16))).toBeCloseTo(1, 5)
      const direction = rowsOf(1) ?? new Float32Array()
      for (const [i, x] of rowsOf(500)?.entries() ?? []) expect(x).toBeCloseTo(direction[i] ?? 0, 2)
    },
  )

  it('may have stood in front of a generation header of another length', () => {
    const late = describeTiny({ kind: 'iapt', placement: 'late' })
    const before = { ...late, tail: 3 }
    expect(parametersFrom(file(before), late)).toEqual(parametersOf(file(before)))
  })

  it('needs the same kind, shape and backbone', () => {
    expect(() => parametersFrom(file(describeTiny({ kind: 'static', rows: 3 })), metadata)).toThrow(
      /l_sp = 3.*2/,
    )
    expect(() => parametersFrom(file(describeTiny({ kind: 'iapt' })), metadata)).toThrow(/kind = iapt/)
    const other = { ...metadata, backbone_sha256: BackboneDigest.parse('b'.repeat(64)) }
    expect(() => parametersFrom(file(other), metadata)).toThrow(/is for the backbone bbbbbbbbbbbb \(tiny\)/)
  })
})

describe('a start from a text', () => {
  const hidden = Float32Array.from({ length: 3 * 2 * 16 }, (_, i) => (Math.floor(i / 16) + 1) * 10)
  const text = { tokens: 2, hidden }

  it('has the direction of its hidden states, and anchors in the rows beyond', () => {
    const metadata = describeTiny({ kind: 'static', rows: 3 })
    const start = startFromText(fresh(metadata), { metadata, text }).get('layers.2.static')
    expect(start?.slice(0, 32)).toEqual(new Float32Array(32).fill(1))
    expect(start?.slice(32)).toEqual(fresh(metadata).get('layers.2.static')?.slice(32))
  })

  it('starts the own anchors of any kind', () => {
    const metadata = describeTiny({ kind: 'lpt', rows: 2 })
    const start = startFromText(fresh(metadata), { metadata, text })
    expect(start.get('layers.1.anchor')).toEqual(new Float32Array(32).fill(1))
  })

  it('needs a row for each token, and rows that are the adapter’s own', () => {
    const one = describeTiny({ kind: 'static', rows: 1 })
    expect(() => startFromText(fresh(one), { metadata: one, text })).toThrow(
      /2 tokens and the adapter 1 rows; give --rows 2/,
    )
    const sink = describeTiny({ kind: 'iapt', anchor: 'sink' })
    expect(() => startFromText(fresh(sink), { metadata: sink, text })).toThrow(/--anchor own/)
  })
})
