import { expect, it } from 'vitest'
import { BackboneDigest, BackboneSlug } from '../../shared/ids.ts'
import { type AdapterChoices, describeAdapter } from '../../shared/training/describe-adapter.ts'
import { refuseIdleOptions } from './idle-options.ts'

const backbone = {
  config: {
    ...{ layers: 3, d: 16, heads: 2, kvHeads: 1, headDim: 8, ffn: 32, vocab: 50, contextLength: 64 },
    ...{ rotary: [{ theta: 1e4 }], rmsEps: 1e-5, tiedHead: true },
  },
  header: 4,
  slug: BackboneSlug.parse('tiny'),
  digest: BackboneDigest.parse('a'.repeat(64)),
}

const given = {
  rate: 1e-3,
  anchorRate: 1e-3,
  staticRate: 1e-3,
  rationalRate: 1e-3,
  rational: 'bilevel',
  downDeviation: 1,
  optimizer: 'adamw',
} as const
type Name = keyof typeof given

/** Refuses what is not of an adapter, option by option; returns what is taken. */
function taken(choices: AdapterChoices): Name[] {
  const metadata = describeAdapter(backbone, choices)
  const { rate, anchorRate, staticRate, rationalRate, rational, downDeviation, optimizer } = given
  const each: [Name, Parameters<typeof refuseIdleOptions>[0]][] = [
    ['rate', { rate }],
    ['anchorRate', { anchorRate }],
    ['staticRate', { staticRate }],
    ['rationalRate', { rationalRate }],
    ['rational', { rational }],
    ['downDeviation', { downDeviation }],
    ['optimizer', { optimizer }],
  ]
  return each.flatMap(([name, options]) => {
    try {
      refuseIdleOptions(options, metadata)
      return [name]
    } catch (error) {
      expect(error).toMatchObject({ name: 'CliFailure', remedy: 'leave it out' })
      return []
    }
  })
}

it.each<[AdapterChoices, Name[]]>([
  [{ kind: 'iapt' }, ['rate', 'anchorRate', 'downDeviation', 'optimizer']],
  [
    { kind: 'iapt', anchor: 'sink', activation: 'rational' },
    ['rate', 'rationalRate', 'rational', 'downDeviation', 'optimizer'],
  ],
  [{ kind: 'idpg', generator: 'shared', anchor: 'none' }, ['rate', 'downDeviation', 'optimizer']],
  [{ kind: 'ipt', activation: 'relu' }, ['rate', 'anchorRate', 'optimizer']],
  [
    { kind: 'lpt', activation: 'rational' },
    ['rate', 'anchorRate', 'rationalRate', 'rational', 'downDeviation', 'optimizer'],
  ],
  [{ kind: 'static' }, ['staticRate']],
  [{ kind: 'static', anchor: 'own' }, ['anchorRate', 'staticRate']],
])('of options of tensors, those are taken whose tensors the adapter has: %j', (choices, names) => {
  expect(taken(choices)).toEqual(names)
})

it('a refused option is named, with the option that it needs', () => {
  const metadata = describeAdapter(backbone, { kind: 'static' })
  expect(() => refuseIdleOptions({ rate: 1e-3 }, metadata)).toThrow(
    '--rate needs a generator, which kind static has not (its rows learn at --static-rate)',
  )
  expect(() => refuseIdleOptions({ rational: 'bilevel' }, metadata)).toThrow(
    '--rational needs --activation rational',
  )
})
