import type { TensorName, TensorSource } from '../../model/architectures/tensor-source.ts'
import type { AdapterFile, AdapterMetadata } from '../../shared/adapter-file.ts'
import type { ModelConfig } from '../../shared/backbone.ts'
import type { FileTensor } from '../../shared/safetensors.ts'

/**
 * The model and the method written down once more, row by row in plain TypeScript and double precision, as the oracle
 * for the graph. It caches nothing and shares no code with it.
 */

type Row = readonly number[]
type Rows = readonly Row[]

export interface Tuning {
  readonly adapter: AdapterFile
  /** s_l, [layers, d]. */
  readonly anchors: Float32Array
  /** Tokens in front of the newest turn; 0 by default. */
  readonly turn?: number
}

/** Logits of every token, [tokens][vocab]. `tuning` puts an adapter's rows among them. */
export async function referenceLogits(
  source: TensorSource,
  { tokens, tuning }: { tokens: readonly number[]; tuning?: Tuning },
): Promise<Rows> {
  const { config } = source
  const { d, layers, rmsEps } = config
  const matrix = async (name: TensorName, columns: number) => rowsOf(await source.read(name), columns)
  const vector = async (name: TensorName) => [...(await source.read(name))]
  const embedding = await matrix('embedding', d)
  let hidden: Rows = tokens.map((id) => embedding[id] ?? [])
  const metadata = tuning?.adapter.metadata
  const before =
    metadata === undefined ? 0 : tokensBefore(metadata, { tokens: tokens.length, turn: tuning?.turn })
  const from = metadata && carriedFrom(metadata)
  for (let l = 0; l < layers; l++) {
    const at = `layers.${l}` as const
    const isMade = tuning !== undefined && (from === undefined || l === from)
    const prompt = isMade ? promptRows(hidden, { ...tuning, layer: l, tokens }) : []
    const sequence = [...hidden.slice(0, before), ...prompt, ...hidden.slice(before)]
    if (from === l) hidden = sequence
    const dropped = from === undefined ? prompt.length : 0
    const norm = await vector(`${at}.attn_norm`)
    const x = sequence.map((row) => scaled(rmsNormed(row, rmsEps), norm))
    const attended = attention(config, {
      q: times(x, await matrix(`${at}.q`, d)),
      k: times(x, await matrix(`${at}.k`, d)),
      v: times(x, await matrix(`${at}.v`, d)),
      layer: l,
      // Prompt rows and the token in front of them stay in view behind a window, unless they are a turn's or late.
      prefix:
        metadata !== undefined &&
        !['late', 'turn'].includes(metadata.placement) &&
        (isMade || (from !== undefined && l >= from))
          ? before + metadata.l_sp
          : 0,
    })
    const kept = attended.filter((_, i) => i < before || i >= before + dropped)
    const mixed = times(kept, await matrix(`${at}.o`, config.heads * config.headDim))
    const middle = hidden.map((row, i) => plus(row, mixed[i] ?? []))
    const mlpNorm = await vector(`${at}.mlp_norm`)
    const y = middle.map((row) => scaled(rmsNormed(row, rmsEps), mlpNorm))
    const gate = times(y, await matrix(`${at}.gate`, d))
    const up = times(y, await matrix(`${at}.up`, d))
    const activated = gate.map((row, i) => row.map((g, j) => (g / (1 + Math.exp(-g))) * (up[i]?.[j] ?? 0)))
    const down = times(activated, await matrix(`${at}.down`, config.ffn))
    hidden = middle.map((row, i) => plus(row, down[i] ?? []))
  }
  const norm = await vector('norm')
  const head = config.tiedHead ? embedding : await matrix('head', d)
  const carried = metadata !== undefined && from !== undefined ? metadata.l_sp : 0
  const last = hidden.filter((_, i) => i < before || i >= before + carried)
  return times(
    last.map((row) => scaled(rmsNormed(row, rmsEps), norm)),
    head,
  )
}

function tokensBefore(
  { placement, tail = 0 }: AdapterMetadata,
  { tokens, turn = 0 }: { tokens: number; turn: number | undefined },
): number {
  if (placement === 'late') return tokens - tail
  if (placement === 'turn' && turn > 0) return turn
  if (placement === 'turn') return 1
  return placement === 'after-first' ? 1 : 0
}

/** The layer whose rows stay in the residual stream; undefined where every layer makes its own. */
function carriedFrom(metadata: AdapterMetadata): number | undefined {
  if (metadata.kind === 'ipt') return 0
  return metadata.kind === 'lpt' || metadata.kind === 'idpg' ? metadata.at : undefined
}

/** P of one layer: anchor + table + g(p)·W_up. */
function promptRows(
  hidden: Rows,
  { adapter, anchors, layer, tokens, turn = 0 }: Tuning & { layer: number; tokens: readonly number[] },
): Rows {
  const { metadata, tensors } = adapter
  const { d, l_sp } = metadata
  const stored = (name: string, columns: number) => {
    const tensor = tensors.get(`layers.${layer}.${name}`) ?? tensors.get(`shared.${name}`)
    return tensor === undefined ? undefined : rowsOf(numbers(tensor), columns)
  }
  const nothing = Array.from({ length: l_sp }, () => Array<number>(d).fill(0))
  const sink = Array.from({ length: l_sp }, () => [...anchors.subarray(layer * d, (layer + 1) * d)])
  const parts: Rows[] = [
    metadata.anchor === 'sink' ? sink : nothing,
    stored('anchor', d) ?? nothing,
    stored('static', d) ?? nothing,
  ]
  if (metadata.kind !== 'static') {
    const { m, window, activation } = metadata
    const columns = (name: string, width: number) => transposed(stored(name, width) ?? [])
    const pool = metadata.kind === 'iapt' ? 'attention' : metadata.kind === 'ipt' ? 'mean' : metadata.pool
    const read =
      metadata.placement === 'late'
        ? hidden.slice(0, tokensBefore(metadata, { tokens: tokens.length, turn })).slice(-window)
        : hidden.slice(turn, turn + window)
    const x = read.map((row) => rmsNormed(row, 1e-5))
    const table = stored('table', m)
    const z = table ? tokens.slice(0, window).map((id) => table[id] ?? []) : times(x, columns('down', m))
    const pooled =
      pool === 'attention'
        ? times(transposed(times(z, columns('query', l_sp))).map(softmax), transposed(z))
        : [
            transposed(z).map(
              pool === 'mean' ? (v) => v.reduce((a, b) => a + b) / v.length : (v) => Math.max(...v),
            ),
          ]
    const g = activationOf(activation, stored('rational', 12)?.[0] ?? [])
    const width = pool === 'attention' ? d : l_sp * d
    const made = times(
      pooled.map((row) => row.map(g)),
      columns('up', width),
    ).flat()
    parts.push(Array.from({ length: l_sp }, (_, row) => made.slice(row * d, (row + 1) * d)))
  }
  return parts.reduce((sum, part) => sum.map((row, i) => plus(row, part[i] ?? [])))
}

function activationOf(name: 'rational' | 'gelu' | 'relu', c: Row): (x: number) => number {
  if (name === 'relu') return (x) => Math.max(0, x)
  if (name === 'gelu') return (x) => (x * (1 + erf(x / Math.SQRT2))) / 2
  return (x) => {
    let numerator = 0
    for (let j = 0; j <= 6; j++) numerator += (c[j] ?? 0) * x ** j
    let denominator = 0
    for (let i = 1; i <= 5; i++) denominator += (c[6 + i] ?? 0) * x ** i
    return numerator / (1 + Math.abs(denominator))
  }
}

/** Maclaurin series of the error function; exact to double precision for |x| < 4. */
function erf(x: number): number {
  let term = x
  let sum = x
  for (let n = 1; n < 120; n++) {
    term *= (-x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}

function attention(
  config: ModelConfig,
  { q, k, v, layer, prefix }: { q: Rows; k: Rows; v: Rows; layer: number; prefix: number },
): Rows {
  const window = config.attention?.[layer]?.window ?? Number.POSITIVE_INFINITY
  const { heads, kvHeads, headDim } = config
  const head = (rows: Rows, index: number) =>
    rows.map((row) => row.slice(index * headDim, (index + 1) * headDim))
  const perHead = Array.from({ length: heads }, (_, h) => {
    const shared = Math.floor(h / (heads / kvHeads))
    const queries = head(q, h).map((row, position) => rotated(row, position, config))
    const keys = head(k, shared).map((row, position) => rotated(row, position, config))
    const values = transposed(head(v, shared))
    return queries.map((query, position) => {
      const scores = keys
        .slice(0, position + 1)
        .map((key, at) =>
          position - at < window || at < prefix ? dot(query, key) / Math.sqrt(headDim) : -1e30,
        )
      const weights = softmax(scores)
      return values.map((column) => dot(weights, column.slice(0, position + 1)))
    })
  })
  return q.map((_, position) => perHead.flatMap((rows) => rows[position] ?? []))
}

/** Rotary position embedding in the rotate-half order. */
function rotated(row: Row, position: number, { headDim, rotary }: ModelConfig): Row {
  const half = headDim / 2
  return row.map((x, i) => {
    const angle = position * (rotary[0]?.theta ?? Number.NaN) ** (-(i % half) / half)
    const other = i < half ? -(row[i + half] ?? 0) : (row[i - half] ?? 0)
    return x * Math.cos(angle) + other * Math.sin(angle)
  })
}

function numbers({ data, dtype }: FileTensor): Float32Array {
  const { buffer } = Uint8Array.from(data)
  return dtype === 'F16' ? Float32Array.from(new Float16Array(buffer)) : new Float32Array(buffer)
}

function rowsOf(values: Float32Array, columns: number): Rows {
  return Array.from({ length: values.length / columns }, (_, i) => [
    ...values.subarray(i * columns, (i + 1) * columns),
  ])
}

function dot(a: Row, b: Row): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0)
  return sum
}
const plus = (a: Row, b: Row) => a.map((x, i) => x + (b[i] ?? 0))
const scaled = (a: Row, b: Row) => a.map((x, i) => x * (b[i] ?? 0))
/** x · Wᵀ */
function times(x: Rows, w: Rows): Rows {
  // Loops over arrays of doubles, as tests spend most of their time here.
  const columns = w[0]?.length ?? 0
  const weights = new Float64Array(w.length * columns)
  for (const [i, row] of w.entries()) weights.set(row, i * columns)
  const values = new Float64Array(columns)
  return x.map((row) => {
    values.set(row)
    return w.map((_, i) => {
      let sum = 0
      for (let j = 0, at = i * columns; j < columns; j++, at++) sum += (values[j] ?? 0) * (weights[at] ?? 0)
      return sum
    })
  })
}
const transposed = (rows: Rows): Rows => (rows[0] ?? []).map((_, j) => rows.map((row) => row[j] ?? 0))
const rmsNormed = (row: Row, epsilon: number) => {
  const rms = Math.sqrt(dot(row, row) / row.length + epsilon)
  return row.map((x) => x / rms)
}
const softmax = (row: Row) => {
  const highest = Math.max(...row)
  const powers = row.map((x) => Math.exp(x - highest))
  const sum = powers.reduce((a, b) => a + b)
  return powers.map((x) => x / sum)
}
