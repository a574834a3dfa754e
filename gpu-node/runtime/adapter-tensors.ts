import type { Tensor } from 'onnxruntime-node'
import type { AdapterFile, AdapterMetadata } from '../../shared/adapter-file.ts'
import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { BackboneDigest } from '../../shared/ids.ts'
import type { LoadedAdapter } from '../engine/backend.ts'
import { activations } from '../graph/generator.ts'
import { bool, float16, float32, int64, type Tensors } from './tensors.ts'

/** A backbone as adapters see it. */
export interface AdapterHost {
  readonly backbone: BackboneDigest
  readonly config: ModelConfig
  /** s_l of each layer, [layers, d]. */
  readonly anchors: Float32Array
  /** Tokens of a prompt's first chunk, which an adapter's window must fit in. */
  readonly chunkTokens: number
}

/** An adapter as graph inputs, in its file's own precision, all layers of a tensor in one. */
export class PromptTensors implements LoadedAdapter {
  readonly metadata: AdapterMetadata
  /** What this adapter alone brings; inputs it does not name keep their shared values. */
  readonly own: Tensors

  constructor(metadata: AdapterMetadata, own: Tensors) {
    this.metadata = metadata
    this.own = own
  }

  get rows(): number {
    return this.metadata.l_sp
  }

  get window(): number {
    return this.metadata.kind === 'iapt' ? this.metadata.window : 0
  }

  get bytes(): number {
    return Object.values(this.own).reduce((sum, { data }) => sum + byteLength(data), 0)
  }
}

function byteLength(data: Tensor['data']): number {
  return ArrayBuffer.isView(data) ? data.byteLength : 0
}

/** Turns adapter files into graph inputs; what all adapters of a backbone share is held once. */
export class AdapterLoader {
  /** The inputs of a run without prompt rows. */
  readonly absent: Tensors
  readonly #host: AdapterHost
  readonly #sink: Tensor

  constructor(host: AdapterHost) {
    const { layers, d } = host.config
    const zeros = (...dims: number[]) => float16(new Uint16Array(dims.reduce((a, b) => a * b)), dims)
    this.#host = host
    this.#sink = float32(host.anchors, [layers, 1, d])
    this.absent = {
      'prompt.present': bool(false),
      'prompt.generated': bool(false),
      'prompt.order': int64([0]),
      'prompt.places': int64([0], [1, 1]),
      'prompt.instruction_end': int64([0]),
      'prompt.anchor': float32(new Float32Array(layers * d), [layers, 1, d]),
      'prompt.tables': zeros(layers, 1, 1, d),
      'prompt.down': zeros(layers, d, 1),
      'prompt.query': zeros(layers, 1, 1),
      'prompt.up': zeros(layers, 1, d),
      'prompt.rational': float32(new Float32Array(layers * 12), [layers, 12]),
      'prompt.activation': int64([0], []),
    }
  }

  /** Throws `backbone_mismatch` for an adapter of another backbone, `adapter_invalid` for one this node cannot run. */
  load(file: AdapterFile): PromptTensors {
    this.#check(file.metadata)
    return new PromptTensors(file.metadata, { ...this.#fixedRows(file), ...generatorTensors(file) })
  }

  /** The rows that do not depend on the instruction: those in 16-bit floats, which the graph adds up, and those in f32. */
  #fixedRows(file: AdapterFile): Tensors {
    const { metadata } = file
    const { anchor, d, l_sp, layers } = metadata
    const exact = metadata.kind === 'static' && metadata.precision === 'f32'
    const tables = [
      ...(anchor === 'own' ? ['anchor'] : []),
      ...(metadata.kind === 'static' && !exact ? ['static'] : []),
    ]
    return {
      ...(tables.length > 0
        ? { 'prompt.tables': stackHalf(file, { names: tables, dims: [layers, tables.length, l_sp, d] }) }
        : {}),
      ...(exact ? { 'prompt.anchor': float32(this.#exactRows(file), [layers, l_sp, d]) } : {}),
    }
  }

  /** Static rows, with s_l added where the adapter wants it: [layers, l_sp, d]. */
  #exactRows(file: AdapterFile): Float32Array {
    const { anchor, d, l_sp } = file.metadata
    const rows = new Float32Array(stack(file, ['static']))
    if (anchor === 'sink') {
      const { anchors } = this.#host
      for (const [i, value] of rows.entries())
        rows[i] = value + (anchors[Math.floor(i / (l_sp * d)) * d + (i % d)] ?? 0)
    }
    return rows
  }

  /** All inputs of the run that makes an adapter's rows and reads the first `tokens` tokens of a prompt. */
  feeds({ metadata, own }: PromptTensors, { tokens }: { tokens: number }): Tensors {
    const { l_sp, placement, anchor } = metadata
    const window = metadata.kind === 'iapt' ? metadata.window : 0
    return {
      ...this.absent,
      ...(anchor === 'sink' ? { 'prompt.anchor': this.#sink } : {}),
      ...own,
      'prompt.present': bool(true),
      'prompt.order': int64(tokenOrder[placement]({ rows: l_sp, tokens })),
      'prompt.places': int64(rowPlaces[placement](l_sp), [l_sp, 1]),
      'prompt.instruction_end': int64([Math.min(window, tokens)]),
    }
  }

  #check(metadata: AdapterMetadata): void {
    const { backbone, chunkTokens, config } = this.#host
    if (metadata.backbone_sha256 !== backbone)
      throw new QuartetError(
        'backbone_mismatch',
        `the adapter is for the backbone ${metadata.backbone_sha256} (${metadata.backbone}); this node runs ${backbone}`,
        { param: 'backbone_sha256' },
      )
    for (const key of ['d', 'layers'] as const)
      if (metadata[key] !== config[key])
        throw new QuartetError(
          'backbone_mismatch',
          `the adapter says ${key} = ${metadata[key]}; the backbone has ${config[key]}`,
          { param: key },
        )
    if (metadata.kind === 'iapt' && metadata.window > chunkTokens)
      throw new QuartetError(
        'adapter_invalid',
        `the adapter's window of ${metadata.window} tokens exceeds this node's prefill chunk of ${chunkTokens}`,
        { param: 'window' },
      )
  }
}

interface RowCounts {
  readonly rows: number
  readonly tokens: number
}

type Placement = AdapterMetadata['placement']

/** Which token stands at each place of a layer's sequence; token 0 where a prompt row will. */
const tokenOrder: { readonly [P in Placement]: (counts: RowCounts) => number[] } = {
  first: ({ rows, tokens }) => [...Array<number>(rows).fill(0), ...range(0, tokens)],
  'after-first': ({ rows, tokens }) => [...Array<number>(rows + 1).fill(0), ...range(1, tokens)],
}

/** The places of the prompt rows: in front of the tokens, or directly behind the first one. */
const rowPlaces: { readonly [P in Placement]: (rows: number) => number[] } = {
  first: (rows) => range(0, rows),
  'after-first': (rows) => range(1, rows + 1),
}

/** Where the tokens stand in that sequence. */
export const tokenPositions: { readonly [P in Placement]: (counts: RowCounts) => number[] } = {
  first: ({ rows, tokens }) => range(rows, rows + tokens),
  'after-first': ({ rows, tokens }) => [0, ...range(rows + 1, rows + tokens)],
}

export function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i)
}

/** What each kind generates its rows from. */
function generatorTensors(file: AdapterFile): Tensors {
  const { metadata } = file
  if (metadata.kind === 'static') return {}
  const { activation, d, l_sp, layers, m } = metadata
  return {
    'prompt.generated': bool(true),
    'prompt.activation': int64([activations.indexOf(activation)], []),
    'prompt.down': stackHalf(file, { names: ['down'], dims: [layers, d, m] }),
    'prompt.query': stackHalf(file, { names: ['query'], dims: [layers, m, l_sp] }),
    'prompt.up': stackHalf(file, { names: ['up'], dims: [layers, m, d] }),
    ...(activation === 'rational'
      ? { 'prompt.rational': float32(new Float32Array(stack(file, ['rational'])), [layers, 12]) }
      : {}),
  }
}

function stackHalf(
  file: AdapterFile,
  { names, dims }: { names: readonly string[]; dims: readonly number[] },
): Tensor {
  return float16(new Uint16Array(stack(file, names)), dims)
}

/** The bytes of these tensors of every layer, layer by layer. */
function stack({ metadata, tensors }: AdapterFile, names: readonly string[]): ArrayBuffer {
  const parts = range(0, metadata.layers).flatMap((layer) =>
    names.map((name) => {
      const tensor = tensors.get(`layers.${layer}.${name}`)
      if (tensor === undefined)
        throw new QuartetError('adapter_invalid', `tensor layers.${layer}.${name} is missing`)
      return tensor.data
    }),
  )
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes.buffer
}
