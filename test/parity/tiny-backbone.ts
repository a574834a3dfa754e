import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TensorName, TensorSource } from '../../model/architectures/tensor-source.ts'
import type { BackboneSource } from '../../model/import/backbone-source.ts'
import { importSource } from '../../model/import/import.ts'
import { type BackendOptions, createBackend } from '../../model/runtime/create-backend.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import type { BackboneManifest, ModelConfig, WeightFormat } from '../../shared/backbone.ts'
import { seededSource } from '../fakes/seeded-source.ts'

export const tinyConfig: ModelConfig = {
  layers: 3,
  d: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  ffn: 96,
  vocab: 256,
  contextLength: 1024,
  rotary: [{ theta: 10_000 }],
  rmsEps: 1e-5,
  tiedHead: true,
}

export interface TinyBackbone {
  readonly folder: string
  readonly manifest: BackboneManifest
  readonly source: TensorSource
}

export interface TinyOptions {
  /** `tiny` by default. */
  readonly slug?: string
  readonly config?: Partial<ModelConfig>
  readonly weights?: WeightFormat
  readonly seed?: number
  /** Its tokenizer, special tokens and template; without them it knows token ids alone. */
  readonly text?: {
    readonly tokenizer: BackboneSource['tokenizer']
    readonly tokens: BackboneManifest['tokens']
    readonly chat: BackboneManifest['chat']
  }
  /** Changes a tensor of the model. */
  readonly alter?: (name: TensorName, values: Float32Array) => Float32Array
  readonly isSymmetric?: TensorSource['isSymmetric']
}

const idsAlone: NonNullable<TinyOptions['text']> = {
  tokenizer: {
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab: {}, merges: [] },
  },
  tokens: { bos: 1, eos: [2] },
  chat: { template: '' },
}

/** Imports a small random model as a real backbone is imported. */
export async function tinyBackbone(options: TinyOptions = {}): Promise<TinyBackbone> {
  const {
    config,
    slug = 'tiny',
    text = idsAlone,
    weights = 'f32',
    seed = 1,
    alter = (_, values) => values,
  } = options
  const seeded = seededSource({ ...tinyConfig, ...config }, seed)
  const source: TensorSource = {
    config: seeded.config,
    isSymmetric: options.isSymmetric ?? (() => false),
    read: async (name) => alter(name, await seeded.read(name)),
  }
  const parent = await mkdtemp(join(tmpdir(), 'quartet-tiny-'))
  const folder = join(parent, 'backbone')
  const manifest = await importSource(
    {
      tensors: source,
      ...text,
      origin: async () => ({ kind: 'seeded', name: `seed ${seed}`, sha256: '0'.repeat(64) }),
      close: async () => {},
    },
    { slug, weights, destination: folder },
  ).catch(async (error: unknown) => {
    await rm(parent, { recursive: true })
    throw error
  })
  return { folder, manifest, source }
}

export function openBackend(
  { folder, manifest }: Pick<TinyBackbone, 'folder' | 'manifest'>,
  {
    cacheLayout,
    cacheType,
    decodeGraph,
    device = 'cpu',
    keptBytes,
    prefillWeights,
    threads,
    ...limits
  }: Partial<OnnxBackend['limits'] & Omit<BackendOptions, 'folder' | 'limits' | 'manifest'>> = {},
): Promise<OnnxBackend> {
  return createBackend({
    folder,
    manifest,
    device,
    cacheLayout,
    cacheType,
    decodeGraph,
    keptBytes,
    prefillWeights,
    threads,
    limits: { contextLength: 1024, chunkTokens: 512, maxBatch: 12, cacheRows: 4096, ...limits },
  })
}
