import { z } from 'zod'
import { QuartetError } from './errors.ts'
import { allFinite, type FloatType } from './finite.ts'
import { BackboneDigest, BackboneSlug } from './ids.ts'
import { type DType, type FileTensor, parseSafeTensors, serializeSafeTensors } from './safetensors.ts'
import { maxAdapterBytes } from './wire.ts'

/** The adapter file, `quartet-adapter/1`: safetensors whose string metadata say what the tensors mean. */

export const maxPromptRows = 512
export const maxWindow = 512
/** Tokens of the longest generation header. */
const maxTail = 64
/** Characters of a problem with the metadata; a file may have thousands of keys that nobody knows. */
const maxProblemLength = 200

const count = (max: number) =>
  z
    .string()
    .regex(/^[1-9][0-9]{0,6}$/, 'must be a positive whole number')
    .transform(Number)
    .pipe(z.int().max(max))

const shape = {
  format: z.literal('quartet-adapter/1'),
  anchor: z.enum(['sink', 'own', 'none']).default('none'),
  placement: z.enum(['first', 'after-first', 'turn', 'late']).default('first'),
  /**
   * Only for the placement `late`: the number of the prompt's tokens, its generation header, that stand behind the
   * rows.
   */
  tail: count(maxTail).optional(),
  backbone: BackboneSlug,
  backbone_sha256: BackboneDigest,
  d: count(16_384),
  layers: count(256),
  l_sp: count(maxPromptRows),
}

const layerIndex = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,2})$/, 'must be the number of a layer, from 0')
  .transform(Number)

/** Settings of the kinds whose rows depend on the instruction. */
const generator = {
  activation: z.enum(['rational', 'gelu', 'relu']).default('rational'),
  m: count(4096),
  window: count(maxWindow).default(maxWindow),
}

/**
 * Metadata per kind, keys as in the file. `window`: how many tokens the generator reads: the prompt's first, with the
 * placement turn the newest turn's first, with late rows the last in front of them.
 * Keys beyond these must start with `train.` (free provenance).
 */
const Kinds = z.discriminatedUnion('kind', [
  z.strictObject({
    ...shape,
    ...generator,
    kind: z.literal('iapt'),
  }),
  z.strictObject({
    ...shape,
    ...generator,
    kind: z.literal('idpg'),
    pool: z.enum(['mean', 'max']).default('mean'),
    /** `shared`: one generator for all layers (with own anchors as its bias per layer). */
    generator: z.enum(['own', 'shared']).default('own'),
    /** The layer whose rows are carried on through those above it; every layer makes its own when absent. */
    at: layerIndex.optional(),
  }),
  z.strictObject({
    ...shape,
    ...generator,
    kind: z.literal('lpt'),
    pool: z.enum(['attention', 'mean', 'max']).default('attention'),
    /** The layer whose rows are carried on through those above it. */
    at: layerIndex,
  }),
  z.strictObject({
    ...shape,
    ...generator,
    kind: z.literal('ipt'),
    /** Rows of the table, one per token id of the backbone. */
    vocab: count(1_000_000),
  }),
  z.strictObject({
    ...shape,
    kind: z.literal('static'),
    /** The type of the rows. Rows in f32 give exactly the keys and values that they were taken from. */
    precision: z.enum(['f16', 'f32']).default('f16'),
  }),
])
export const AdapterMetadata = Kinds.superRefine((metadata, context) => {
  const problem = placementProblem(metadata)
  if (problem !== undefined)
    context.addIssue({ code: 'custom', path: [problem.key], message: problem.message })
})
export type AdapterMetadata = z.infer<typeof AdapterMetadata>
export type AdapterKind = AdapterMetadata['kind']
type MetadataOf<K extends AdapterKind> = Extract<AdapterMetadata, { kind: K }>

export interface TensorSpec {
  readonly dtype: DType
  readonly shape: readonly number[]
}

const half = (...shape: readonly number[]): TensorSpec => ({ dtype: 'F16', shape })

const rational = ({ activation }: { readonly activation: 'rational' | 'gelu' | 'relu' }) =>
  activation === 'rational' ? { rational: { dtype: 'F32', shape: [12] } as const } : {}

/** The tensors of one layer, without the `layers.{l}.` in front. One row per kind. */
const layerTensors: { [K in AdapterKind]: (of: MetadataOf<K>) => Record<string, TensorSpec> } = {
  iapt: (of) => ({
    down: half(of.d, of.m),
    query: half(of.m, of.l_sp),
    up: half(of.m, of.d),
    ...rational(of),
  }),
  idpg: (of) => ({ down: half(of.d, of.m), up: half(of.m, of.l_sp * of.d), ...rational(of) }),
  lpt: (of) => ({
    down: half(of.d, of.m),
    ...(of.pool === 'attention'
      ? { query: half(of.m, of.l_sp), up: half(of.m, of.d) }
      : { up: half(of.m, of.l_sp * of.d) }),
    ...rational(of),
  }),
  ipt: (of) => ({ table: half(of.vocab, of.m), up: half(of.m, of.l_sp * of.d), ...rational(of) }),
  static: ({ d, l_sp, precision }) => ({
    static: { dtype: precision === 'f32' ? 'F32' : 'F16', shape: [l_sp, d] },
  }),
}

function kindTensors(metadata: AdapterMetadata): Record<string, TensorSpec> {
  switch (metadata.kind) {
    case 'iapt':
      return layerTensors.iapt(metadata)
    case 'idpg':
      return layerTensors.idpg(metadata)
    case 'lpt':
      return layerTensors.lpt(metadata)
    case 'ipt':
      return layerTensors.ipt(metadata)
    case 'static':
      return layerTensors.static(metadata)
  }
}

/** The layer whose rows are carried on through those above it; undefined where every layer has rows of its own. */
export function carriedFrom(metadata: AdapterMetadata): number | undefined {
  switch (metadata.kind) {
    case 'iapt':
    case 'static':
      return undefined
    case 'idpg':
    case 'lpt':
      return metadata.at
    case 'ipt':
      return 0
  }
}

function placementProblem(metadata: z.infer<typeof Kinds>) {
  const { placement, tail } = metadata
  const isAnew = placement === 'late' || placement === 'turn'
  if (isAnew && carriedFrom(metadata) !== undefined)
    return {
      key: 'placement',
      message: `rows of the placement ${placement} are made anew in every layer: use the kind iapt, static, or idpg without at`,
    }
  if (placement !== 'late')
    return tail === undefined
      ? undefined
      : { key: 'tail', message: `is for the placement late; leave it out with ${placement}` }
  if (tail === undefined)
    return {
      key: 'tail',
      message: 'is missing: late rows need the length of the generation header, in tokens',
    }
  return undefined
}

/** The layers that have tensors of their own. */
export function ownLayers(metadata: AdapterMetadata): readonly number[] {
  const at = carriedFrom(metadata)
  return at === undefined ? Array.from({ length: metadata.layers }, (_, layer) => layer) : [at]
}

/** Every tensor that a file with this metadata holds, by full name. */
export function adapterTensorSpecs(metadata: AdapterMetadata): ReadonlyMap<string, TensorSpec> {
  const { anchor, d, l_sp } = metadata
  const isShared = metadata.kind === 'idpg' && metadata.generator === 'shared'
  const ofKind = Object.entries(kindTensors(metadata))
  const ofLayer = [
    ...(isShared ? [] : ofKind),
    ...(anchor === 'own' ? [['anchor', half(l_sp, d)] as const] : []),
  ]
  return new Map([
    ...(isShared ? ofKind.map(([name, spec]) => [`shared.${name}`, spec] as const) : []),
    ...ownLayers(metadata).flatMap((layer) =>
      ofLayer.map(([name, spec]) => [`layers.${layer}.${name}`, spec] as const),
    ),
  ])
}

export interface AdapterFile {
  readonly metadata: AdapterMetadata
  /** Where it came from: the `train.*` keys. */
  readonly provenance: Readonly<Record<string, string>>
  /** Exactly the tensors of `adapterTensorSpecs`, in that order. */
  readonly tensors: ReadonlyMap<string, FileTensor>
}

/** The header of an adapter file; no tensor's bytes are read for it. */
export type AdapterDescription = Omit<AdapterFile, 'tensors'>

/** Parses and checks an adapter file. Throws `adapter_invalid` that names the metadata key or tensor at fault. */
export function parseAdapterFile(file: Uint8Array): AdapterFile {
  checkAdapterLength(file.length)
  const { metadata: raw, tensors } = parseSafeTensors(file)
  const description = checkAdapter(raw, tensors)
  const ordered = new Map<string, FileTensor>()
  for (const name of adapterTensorSpecs(description.metadata).keys()) {
    const tensor = tensors.get(name)
    if (tensor === undefined) continue
    if (!allFinite(tensor.data, floatTypeOf(tensor))) throw notFinite(name)
    ordered.set(name, tensor)
  }
  return { ...description, tensors: ordered }
}

export function checkAdapterLength(bytes: number): void {
  if (bytes > maxAdapterBytes)
    throw new QuartetError(
      'adapter_invalid',
      `the file has ${bytes} bytes; an adapter has at most ${maxAdapterBytes}`,
    )
}

/** The files' tensors are in f16 or f32 alone (`adapterTensorSpecs`). */
export const floatTypeOf = ({ dtype }: Pick<TensorSpec, 'dtype'>): FloatType =>
  dtype === 'F16' ? 'F16' : 'F32'

export const notFinite = (tensor: string) =>
  new QuartetError('adapter_invalid', `tensor ${tensor} holds NaN or infinity`, { param: tensor })

/** Checks an adapter's metadata, and that its tensors are the ones they ask for. Throws `adapter_invalid`. */
export function checkAdapter(
  raw: Readonly<Record<string, string>>,
  tensors: ReadonlyMap<string, TensorSpec>,
): AdapterDescription {
  const [provenance, described] = partitionProvenance(raw)
  const parsed = AdapterMetadata.safeParse(described)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    const key = issue?.path.join('.') || 'metadata'
    throw new QuartetError(
      'adapter_invalid',
      `adapter metadata ${key}: ${issue?.message.slice(0, maxProblemLength)}`,
      {
        param: key,
      },
    )
  }
  const metadata = parsed.data
  const at = carriedFrom(metadata)
  if (at !== undefined && at >= metadata.layers)
    throw new QuartetError(
      'adapter_invalid',
      `adapter metadata at: layer ${at} is not one of the ${metadata.layers} layers, which count from 0`,
      { param: 'at' },
    )
  const specs = adapterTensorSpecs(metadata)
  for (const name of tensors.keys())
    if (!specs.has(name))
      throw new QuartetError(
        'adapter_invalid',
        `unexpected tensor ${name} in an adapter of kind ${metadata.kind}`,
        {
          param: name,
        },
      )
  for (const [name, spec] of specs) checkTensor(name, { spec, tensor: tensors.get(name) })
  return { metadata, provenance }
}

function partitionProvenance(raw: Readonly<Record<string, string>>) {
  const entries = Object.entries(raw)
  const isProvenance = ([key]: [string, string]) => key.startsWith('train.')
  return [
    Object.fromEntries(entries.filter(isProvenance)),
    Object.fromEntries(entries.filter((entry) => !isProvenance(entry))),
  ] as const
}

function checkTensor(
  name: string,
  { spec, tensor }: { spec: TensorSpec; tensor: TensorSpec | undefined },
): void {
  const fail = (message: string): never => {
    throw new QuartetError('adapter_invalid', `tensor ${name} ${message}`, { param: name })
  }
  if (tensor === undefined) fail('is missing')
  else if (tensor.dtype !== spec.dtype) fail(`has dtype ${tensor.dtype}; expected ${spec.dtype}`)
  else if (String(tensor.shape) !== String(spec.shape))
    fail(`has shape [${tensor.shape}]; expected [${spec.shape}]`)
}

/** The file's bytes; parses what it wrote, so that nothing leaves that a reader would refuse. */
export function serializeAdapterFile({
  metadata,
  provenance,
  tensors,
}: AdapterFile): Uint8Array<ArrayBuffer> {
  const file = serializeSafeTensors({ metadata: { ...metadataStrings(metadata), ...provenance }, tensors })
  parseAdapterFile(file)
  return file
}

/** An adapter's metadata as a file holds them. */
export function metadataStrings(metadata: AdapterMetadata): Record<string, string> {
  return Object.fromEntries(
    Object.entries(metadata).flatMap(([key, value]) => (value === undefined ? [] : [[key, String(value)]])),
  )
}
