import { readdir, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { BackboneManifest, type ModelConfig, type StoredWeights } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { serializeSafeTensors } from '../../shared/safetensors.ts'
import { compileTokenizer } from '../../shared/tokenizer/compile-tokenizer.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { decoderTensors } from '../architectures/decoder-tensors.ts'
import { withFittingHeads } from '../architectures/fitting-heads.ts'
import type { TensorSource } from '../architectures/tensor-source.ts'
import { type Backbone, manifestName, openBackbone } from '../backbone/backbone-folder.ts'
import { fileSha256 } from '../backbone/file-digest.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'
import { readTextFile } from '../backbone/json-file.ts'
import { exportGraph } from '../graph/export.ts'
import { graphVersion } from '../graph/version.ts'
import { computeAnchors } from '../runtime/anchors.ts'
import type { BackboneSource } from './backbone-source.ts'
import { compiledTokenizerName } from './backbone-tokenizer.ts'
import { renderQuestion, type StatedTemplate } from './chat-template.ts'
import { frameTokens } from './conversation.ts'
import type { OnProgress } from './progress.ts'
import { openSource } from './source.ts'
import { stage } from './staging.ts'
import { encode } from './tokenizer.ts'

export interface ImportOptions {
  /** A GGUF file or a Hugging Face folder. */
  readonly path: string
  readonly slug: string
  readonly weights: BackboneManifest['weights']
  /** The matrices that keep 8 bits where weights have 4; the head when absent. */
  readonly eightBits?: BackboneManifest['eightBits']
  /** Folder to make; must not exist yet, unless it holds the same import. */
  readonly destination: string
  /** The source's name in the manifest; the name of the file or folder when absent. */
  readonly sourceName?: string | undefined
  /** A file with a chat template (Jinja) to take in place of the source's own. */
  readonly chatTemplate?: string | undefined
  readonly onProgress?: OnProgress | undefined
  readonly signal?: AbortSignal | undefined
}

/** Converts a model file to a backbone folder, which appears whole or not at all. Throws `backbone_invalid`. */
export async function importBackbone(options: ImportOptions): Promise<BackboneManifest> {
  const { path, chatTemplate, ...rest } = options
  const chat = chatTemplate === undefined ? undefined : await givenTemplate(chatTemplate)
  const source = await openSource(path, { chat })
  try {
    return await importSource(source, rest)
  } finally {
    await source.close()
  }
}

async function givenTemplate(place: string): Promise<StatedTemplate> {
  const template = await readTextFile(place)
  if (template === undefined) throw new QuartetError('not_found', `there is no file ${place}`)
  if (template.trim() === '') throw invalidBackbone(place, 'the chat template is blank')
  return { template, place }
}

/** The same for a source that is open already (a seeded one, in tests). */
export async function importSource(
  source: BackboneSource,
  {
    slug,
    weights,
    destination,
    sourceName,
    onProgress,
    signal,
    ...options
  }: Omit<ImportOptions, 'path' | 'chatTemplate'>,
): Promise<BackboneManifest> {
  const stored = storedWeights(weights, options.eightBits)
  const stated = await source.origin()
  const origin = { ...stated, name: sourceName ?? stated.name }
  const asBefore = async () => {
    const { manifest } = await existing(destination)
    const isStoredSo = manifest.weights === weights && String(manifest.eightBits) === String(stored.eightBits)
    const isOfSource =
      manifest.source.sha256 === origin.sha256 && manifest.chat.template === source.chat.template
    if (manifest.slug === slug && isStoredSo && isOfSource) return manifest
    throw new QuartetError(
      'conflict',
      `${destination} holds another import (${manifest.slug}, ${manifest.weights}, from ${manifest.source.name}); remove it first`,
    )
  }
  if (await exists(destination)) return asBefore()
  const staging = await stage(destination)
  try {
    const { folder } = staging
    const tensors = withFittingHeads(source.tensors)
    const { config } = tensors
    const weightLayout = await exportGraph(supervised(tensors, { onProgress, signal }), { ...stored, folder })
    await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(source.tokenizer))
    await writeFile(join(folder, compiledTokenizerName), compileTokenizer(source.tokenizer))
    onProgress?.({ type: 'note', text: 'computing anchor rows' })
    const anchors = await computeAnchors(folder, {
      config,
      weights: weightLayout,
      firstToken: firstToken(source) ?? 0,
    })
    await writeFile(join(folder, 'anchors.safetensors'), anchorFile(anchors, config))
    onProgress?.({ type: 'note', text: 'hashing' })
    const files = await fileEntries(folder)
    const manifest = BackboneManifest.parse({
      format: 'quartet-backbone/1',
      slug,
      digest: files['weights.bin']?.sha256,
      config,
      ...stored,
      graph: graphVersion,
      tokens: source.tokens,
      chat: source.chat,
      files,
      source: origin,
    })
    await writeFile(join(folder, manifestName), `${JSON.stringify(manifest, null, 2)}\n`)
    await openBackbone(folder)
    try {
      await staging.commit()
    } catch (error) {
      if (await exists(destination)) return await asBefore()
      throw error
    }
    return manifest
  } catch (error) {
    if (!isFullDisk(error)) throw error
    // Without the cause, in whose place the command line would name another setting.
    throw new QuartetError(
      'exceeds_limit',
      `the disk of ${dirname(destination)} is full, and nothing of the import is left there; free some space, or keep backbones elsewhere with QUARTET_CACHE`,
    )
  } finally {
    await staging.discard()
  }
}

/** The disk has no room, or the user's share of it is used up. */
const isFullDisk = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')

function storedWeights(
  weights: BackboneManifest['weights'],
  eightBits: BackboneManifest['eightBits'],
): StoredWeights {
  if (weights === 'q4') return { weights, eightBits: [...(eightBits ?? ['head'])].sort() }
  if (eightBits === undefined) return { weights }
  throw new QuartetError(
    'invalid_request',
    `matrices keep 8 bits among weights of 4, and these are ${weights}`,
  )
}

async function existing(folder: string): Promise<Backbone> {
  try {
    return await openBackbone(folder)
  } catch (cause) {
    throw new QuartetError(
      'conflict',
      `${folder} exists and is not a whole backbone (${cause instanceof Error ? cause.message : cause}); remove it first`,
      { cause },
    )
  }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

/** The same tensors; reading them reports progress and stops when `signal` says so. */
function supervised(
  source: TensorSource,
  { onProgress, signal }: Pick<ImportOptions, 'onProgress' | 'signal'>,
): TensorSource {
  const total = decoderTensors(source.config).size
  const seen = new Set<string>()
  return {
    config: source.config,
    isSymmetric: (name) => source.isSymmetric?.(name) ?? false,
    async read(name) {
      signal?.throwIfAborted()
      const values = await source.read(name)
      seen.add(name)
      onProgress?.({ type: 'progress', task: 'converting', done: seen.size, total, unit: 'tensors' })
      return values
    },
  }
}

/** The token that every chat starts with: the attention sink that anchor rows stand in for. */
function firstToken({ tokenizer, tokens, chat }: BackboneSource): number | undefined {
  if (chat.template === '') return tokens.bos ?? tokens.eos[0]
  const text = renderQuestion(chat.template, frameTokens(tokenizer, tokens))
  return encode(TextCodec.compile(tokenizer), text)[0]
}

function anchorFile(rows: Float32Array, { layers, d }: ModelConfig): Uint8Array {
  const data = new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength)
  return serializeSafeTensors({
    metadata: {},
    tensors: new Map([['sink', { dtype: 'F32', shape: [layers, d], data }]]),
  })
}

async function fileEntries(folder: string): Promise<BackboneManifest['files']> {
  const names = (await readdir(folder)).sort()
  const entries: [string, BackboneManifest['files'][string]][] = []
  for (const name of names) {
    const path = join(folder, name)
    entries.push([name, { sha256: await fileSha256(path), bytes: (await stat(path)).size }])
  }
  return Object.fromEntries(entries)
}
