import type { AdapterFile, AdapterMetadata } from '../../shared/adapter-file.ts'
import { checkFit, otherWeights } from '../../shared/adapter-fit.ts'
import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { BackboneDigest } from '../../shared/ids.ts'
import type { LoadedAdapter } from './backend.ts'
import { concatenated, isExact, promptTensors } from './kind-tensors.ts'
import { instructionOf, type RowPlaces, range, rowPlaces, tokenOrder, tokensInFront } from './row-places.ts'
import { bool, bools, float16, float32, int64, type Tensor, type Tensors } from './tensors.ts'
import { TokenTable } from './token-table.ts'

/** A backbone as adapters see it. */
export interface AdapterHost {
  readonly backbone: BackboneDigest
  readonly config: ModelConfig
  /** s_l of each layer, [layers, d]. */
  readonly anchors: Float32Array
  /** Tokens of the largest chunk, which an adapter's window must fit in. */
  readonly chunkTokens: number
}

/** An adapter as graph inputs, in its file's own precision, all layers of a tensor in one. */
export class PromptTensors implements LoadedAdapter {
  readonly metadata: AdapterMetadata
  /** The inputs that this adapter alone brings; those it does not name keep their shared values. */
  readonly own: Tensors
  readonly table: TokenTable | undefined

  constructor({ metadata, own, table }: Pick<PromptTensors, 'metadata' | 'own' | 'table'>) {
    this.metadata = metadata
    this.own = own
    this.table = table
  }

  get rows(): number {
    return this.metadata.l_sp
  }

  get window(): number {
    return this.metadata.kind === 'static' ? 0 : this.metadata.window
  }

  get placement(): AdapterMetadata['placement'] {
    return this.metadata.placement
  }

  get tail(): number | undefined {
    return this.metadata.tail
  }

  /**
   * Where its rows stand in a chunk of so many tokens: the prompt's first, the first of its newest turn, or with late rows
   * its last, `tail` of which stand behind them.
   */
  placesIn(
    tokens: number,
    { begins, tail = this.metadata.tail ?? 0 }: { begins: boolean; tail?: number | undefined },
  ): RowPlaces {
    const { l_sp: rows, placement } = this.metadata
    return { rows, tokens, front: tokensInFront[placement]({ tokens, tail, begins }) }
  }

  get bytes(): number {
    const inGraph = Object.values(this.own).reduce((sum, { data }) => sum + data.byteLength, 0)
    return inGraph + (this.table?.bytes ?? 0)
  }
}

/** Turns adapter files into graph inputs; tensors that all adapters of a backbone share are held once. */
export class AdapterLoader {
  /** The inputs of a run without prompt rows. */
  readonly absent: Tensors
  readonly #host: AdapterHost
  readonly #sink: Tensor

  constructor(host: AdapterHost) {
    const { layers, d } = host.config
    const zeros = (...dims: number[]) => float16(new Uint16Array(dims.reduce((a, b) => a * b)), dims)
    const perLayer = int64(Array<number>(layers).fill(0))
    this.#host = host
    this.#sink = float32(host.anchors, [layers, 1, d])
    this.absent = {
      'prompt.made': bools(Array<boolean>(layers).fill(false)),
      'prompt.program': int64([0], []),
      'prompt.order': int64([0]),
      'prompt.places': int64([0], [1, 1]),
      'prompt.instruction_start': int64([0]),
      'prompt.instruction_end': int64([0]),
      'prompt.anchor': float32(new Float32Array(layers * d), [layers, 1, d]),
      'prompt.own': zeros(layers, 1, d),
      'prompt.static': zeros(layers, 1, d),
      'prompt.down': zeros(1, d, 1),
      'prompt.query': zeros(1, 1, 1),
      'prompt.up': zeros(1, 1, d),
      'prompt.rational': float32(new Float32Array(12), [1, 12]),
      'prompt.activation': int64([0], []),
      'prompt.pool': int64([0], []),
      'prompt.given': float32(new Float32Array(1), [1, 1]),
      'prompt.carried': bool(false),
      'prompt.generator_of': perLayer,
      'prompt.own_of': perLayer,
    }
  }

  /** Throws `backbone_mismatch` for an adapter of another backbone, `adapter_invalid` for one this node cannot run. */
  load(file: AdapterFile): PromptTensors {
    const { metadata } = file
    this.#check(metadata)
    const exact = isExact(metadata) ? { 'prompt.anchor': this.#exactRows(file) } : {}
    return new PromptTensors({
      metadata,
      own: { ...promptTensors(file), ...exact },
      table: TokenTable.of(file),
    })
  }

  /** Static rows in f32, with s_l added where the adapter wants it: [layers, l_sp, d]. */
  #exactRows({ metadata, tensors }: AdapterFile): Tensor {
    const { anchor, d, l_sp, layers } = metadata
    const stored = [...tensors].flatMap(([name, { data }]) => (name.endsWith('.static') ? [data] : []))
    const rows = new Float32Array(concatenated(stored))
    if (anchor === 'sink') {
      const { anchors } = this.#host
      for (const [i, value] of rows.entries())
        rows[i] = value + (anchors[Math.floor(i / (l_sp * d)) * d + (i % d)] ?? 0)
    }
    return float32(rows, [layers, l_sp, d])
  }

  /**
   * All inputs of the run that makes an adapter's rows at these places among a chunk's `tokens` and what may follow them.
   * Late rows read what ends at `front`. `others`: tokens of other sequences, which run behind all of the chunk.
   */
  feeds(
    adapter: PromptTensors,
    {
      tokens,
      places,
      front = places.front,
      others = 0,
    }: { tokens: readonly number[]; places: RowPlaces; front?: number; others?: number },
  ): Tensors {
    const { metadata, own, table, window } = adapter
    const { l_sp, placement, anchor } = metadata
    const { start, end } = instructionOf[placement]({ tokens: tokens.length, front, window })
    const given = table?.mean(tokens.slice(start, end))
    return {
      ...this.absent,
      ...(anchor === 'sink' ? { 'prompt.anchor': this.#sink } : {}),
      ...own,
      ...(given ? { 'prompt.given': float32(given, [1, given.length]) } : {}),
      'prompt.order': int64([...tokenOrder(places), ...range(places.tokens, places.tokens + others)]),
      'prompt.places': int64(rowPlaces(places), [l_sp, 1]),
      'prompt.instruction_start': int64([start]),
      'prompt.instruction_end': int64([end]),
    }
  }

  #check(metadata: AdapterMetadata): void {
    const { backbone, chunkTokens, config } = this.#host
    if (metadata.backbone_sha256 !== backbone) throw otherWeights(metadata, { digest: backbone })
    checkFit(metadata, config)
    if (metadata.kind !== 'static' && metadata.window > chunkTokens)
      throw new QuartetError(
        'adapter_invalid',
        `the adapter's window of ${metadata.window} tokens exceeds this node's prefill chunk of ${chunkTokens}`,
        { param: 'window' },
      )
  }
}
