import { z } from 'zod'
import { type AdapterKind, AdapterMetadata, adapterTensorSpecs, maxWindow } from '../adapter-file.ts'
import type { BackboneManifest, BackboneShape } from '../backbone.ts'
import { QuartetError } from '../errors.ts'
import { maxAdapterBytes } from '../wire.ts'

/** The choices for an adapter; `kinds` says which of them a kind has. */
export interface AdapterChoices {
  readonly kind: AdapterKind
  readonly rows?: number | undefined
  readonly anchor?: AdapterMetadata['anchor'] | undefined
  readonly placement?: AdapterMetadata['placement'] | undefined
  readonly m?: number | undefined
  readonly activation?: 'rational' | 'gelu' | 'relu' | undefined
  readonly window?: number | undefined
  readonly pool?: 'attention' | 'mean' | 'max' | undefined
  readonly generator?: 'own' | 'shared' | undefined
  readonly at?: number | undefined
}

type Chosen = Omit<AdapterChoices, 'kind'>
type ChosenSetting = keyof Chosen
type Defaults = Readonly<Partial<Record<ChosenSetting, string | undefined>>>

/** The backbone that an adapter is to be trained for. */
export interface AdapterBackbone extends Pick<BackboneManifest, 'digest' | 'slug'> {
  readonly config: BackboneShape
  /** Tokens of its chat template's generation header; 0 where it has none. */
  readonly header: number
}

/** The reference's best start for every kind (`docs/training.md`). */
const rows: Defaults = { rows: '4', anchor: 'own' }
const atStart: Defaults = { ...rows, placement: 'after-first' }

/** Late where there is a header to stand in front of (`docs/late-rows.md`). */
const placed = (header: number): Defaults => ({ ...rows, placement: header > 0 ? 'late' : 'after-first' })

/** Tokens that the generator of late rows reads by default. */
export const lateWindow = 64

/**
 * A generator for rows with these defaults. Each late adapter reads its window again, of a prefill that it shares
 * otherwise, so theirs is short.
 */
const generating = (start: Defaults, { placement }: Chosen): Defaults => ({
  ...start,
  m: '64',
  activation: 'gelu',
  window: String((placement ?? start.placement) === 'late' ? lateWindow : maxWindow),
})

/** The choices that a kind has, each with its default; a choice whose default is undefined is left out. */
const kinds: { readonly [K in AdapterKind]: (of: AdapterBackbone, chosen: Chosen) => Defaults } = {
  iapt: ({ header }, chosen) => generating(placed(header), chosen),
  /** Rows of their own need no anchor beside them: they start as it. */
  static: ({ header }) => ({ ...placed(header), anchor: 'none' }),
  /** One generator for all layers, unless the rows of a single layer leave one that is its own. */
  idpg: ({ header }, chosen) => ({
    ...generating(chosen.at === undefined ? placed(header) : atStart, chosen),
    pool: 'mean',
    generator: chosen.at === undefined ? 'shared' : 'own',
    at: undefined,
  }),
  lpt: ({ config: { layers } }, chosen) => ({
    ...generating(atStart, chosen),
    pool: 'attention',
    at: String(Math.floor(layers / 2)),
  }),
  /** Narrow, as the table has a row for every token of the vocabulary. */
  ipt: (_, chosen) => ({ ...generating(atStart, chosen), m: '16' }),
}

/** The choices that lead to an adapter like this one. */
export function choicesOf(metadata: AdapterMetadata): AdapterChoices {
  const { kind, l_sp: rows, anchor, placement } = metadata
  const shape = { rows, anchor, placement }
  switch (kind) {
    case 'static':
      return { kind, ...shape }
    case 'iapt':
    case 'ipt':
      return { kind, ...shape, ...generatorOf(metadata) }
    case 'lpt':
      return { kind, ...shape, ...generatorOf(metadata), pool: metadata.pool, at: metadata.at }
    case 'idpg': {
      const { pool, generator, at } = metadata
      return { kind, ...shape, ...generatorOf(metadata), pool, generator, at }
    }
  }
}

const generatorOf = ({ activation, m, window }: Exclude<AdapterMetadata, { kind: 'static' }>) => ({
  activation,
  m,
  window,
})

/**
 * The metadata of an adapter to train for this backbone. Throws `invalid_request` that names the choice at fault.
 */
export function describeAdapter(
  backbone: AdapterBackbone,
  { kind, ...choices }: AdapterChoices,
): AdapterMetadata {
  const { config, digest, header, slug } = backbone
  const defaults = kinds[kind](backbone, choices)
  const given = Object.entries(choices).filter(([, value]) => value !== undefined)
  for (const [name] of given)
    if (!Object.hasOwn(defaults, name))
      throw invalid(name, `an adapter of kind ${kind} has no ${name}; leave --${name} out`)
  const { rows, ...chosen }: Record<string, string | undefined> = {
    ...defaults,
    ...Object.fromEntries(given.map(([name, value]) => [name, String(value)])),
  }
  const isLate = chosen.placement === 'late'
  if (isLate && header === 0)
    throw invalid(
      'placement',
      'the backbone’s chat template has no generation header, so rows cannot be late; give another --placement',
    )
  const parsed = AdapterMetadata.safeParse({
    format: 'quartet-adapter/1',
    kind,
    backbone: slug,
    backbone_sha256: digest,
    d: String(config.d),
    layers: String(config.layers),
    l_sp: rows,
    ...(kind === 'ipt' ? { vocab: String(config.vocab) } : {}),
    ...(isLate ? { tail: String(header) } : {}),
    ...Object.fromEntries(Object.entries(chosen).filter(([, value]) => value !== undefined)),
  })
  if (!parsed.success) {
    const key = String(parsed.error.issues[0]?.path[0] ?? 'kind')
    const name = key === 'l_sp' ? 'rows' : key
    throw invalid(name, `--${name}: ${z.prettifyError(parsed.error).split('\n')[0]?.replace('✖ ', '')}`)
  }
  check(parsed.data)
  return parsed.data
}

function check(metadata: AdapterMetadata): void {
  const { layers } = metadata
  if ('at' in metadata && metadata.at !== undefined && metadata.at >= layers)
    throw invalid(
      'at',
      `--at ${metadata.at}: the backbone has ${layers} layers, which count from 0 to ${layers - 1}`,
    )
  if (metadata.kind === 'idpg' && metadata.generator === 'shared' && metadata.at !== undefined)
    throw invalid(
      'at',
      'with --at an idpg adapter has the generator of that layer; give --generator own, or leave it out',
    )
  const bytes = adapterBytes(metadata)
  if (bytes > maxAdapterBytes * 0.99)
    throw invalid(
      'm',
      `the adapter would have ${(bytes / 2 ** 20).toFixed(1)} MiB and at most ${maxAdapterBytes / 2 ** 20} are possible; choose a smaller --m or fewer --rows`,
    )
}

/** Bytes of its tensors in a file. */
export function adapterBytes(metadata: AdapterMetadata): number {
  let bytes = 0
  for (const { dtype, shape } of adapterTensorSpecs(metadata).values())
    bytes += shape.reduce((product, n) => product * n, dtype === 'F16' ? 2 : 4)
  return bytes
}

/** Values that are trained. */
export function parameterCount(metadata: AdapterMetadata): number {
  let count = 0
  for (const { shape } of adapterTensorSpecs(metadata).values()) count += shape.reduce((a, b) => a * b, 1)
  return count
}

function invalid(param: string, message: string): QuartetError {
  return new QuartetError('invalid_request', message, { param })
}
