import { type AdapterFile, type AdapterMetadata, maxPromptRows } from '../../shared/adapter-file.ts'
import type { BackboneManifest } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { FileTensor } from '../../shared/safetensors.ts'
import { maxAdapterBytes } from '../../shared/wire.ts'
import { prefillChange } from './prefill-graph.ts'
import type { PrefillWeights } from './prefill-weights.ts'
import { range } from './row-places.ts'
import { Trace } from './trace.ts'

export interface CompileOptions {
  /** A backbone's folder and its manifest. */
  readonly folder: string
  readonly manifest: BackboneManifest
  readonly tokens: readonly number[]
  /** The token that every prompt of this backbone starts with, if there is one; the rows then stand behind it. */
  readonly begin?: number | undefined
  /** f32 rows are exact; f16 rows take half the space and change logits a little. */
  readonly precision?: Precision
  /** By which weights the text is read, as a node has it; those that are stored when absent. */
  readonly prefillWeights?: PrefillWeights | undefined
}

export type Precision = Extract<AdapterMetadata, { kind: 'static' }>['precision']

/**
 * Compiles a text into a `static` adapter: its rows are the hidden states that enter each layer for the text's
 * tokens. In front of a prompt they leave the same keys and values in the cache as the text itself would, so serving
 * the adapter equals serving the backbone with the text in front: bit for bit with rows in f32, where prompts are read by
 * the same weights.
 *
 * Throws `invalid_request` for a text without tokens or too long for an adapter.
 */
export async function compileText({
  folder,
  manifest,
  tokens,
  begin,
  precision = 'f32',
  prefillWeights = 'stored',
}: CompileOptions): Promise<AdapterFile> {
  const { layers, d } = manifest.config
  checkLength(tokens.length, { bytesPerRow: layers * d * (precision === 'f32' ? 4 : 2) })
  const trace = await Trace.open(folder, prefillChange(manifest, prefillWeights))
  try {
    const front = begin === undefined ? [] : [begin]
    const hidden = await trace.hiddenStates([...front, ...tokens])
    const rowsOf = (layer: number) => {
      const start = (layer * (front.length + tokens.length) + front.length) * d
      return hidden.subarray(start, start + tokens.length * d)
    }
    const metadata: AdapterMetadata = {
      format: 'quartet-adapter/1',
      kind: 'static',
      anchor: 'none',
      placement: begin === undefined ? 'first' : 'after-first',
      precision,
      backbone: manifest.slug,
      backbone_sha256: manifest.digest,
      d,
      layers,
      l_sp: tokens.length,
    }
    return {
      metadata,
      provenance: { 'train.method': 'compiled-text', 'train.tokens': String(tokens.length) },
      tensors: new Map(
        range(0, layers).map((layer) => [`layers.${layer}.static`, encodeRows[precision](rowsOf(layer), d)]),
      ),
    }
  } finally {
    await trace.release()
  }
}

function checkLength(tokens: number, { bytesPerRow }: { bytesPerRow: number }): void {
  const room = Math.min(maxPromptRows, Math.floor((maxAdapterBytes * 0.99) / bytesPerRow))
  if (tokens === 0 || tokens > room)
    throw new QuartetError(
      'invalid_request',
      `the text has ${tokens} tokens; a compiled text for this backbone has 1 to ${room}${room < maxPromptRows ? ' in this precision' : ''}`,
      { param: 'text' },
    )
}

const encodeRows: { readonly [P in Precision]: (values: Float32Array, d: number) => FileTensor } = {
  f32: (values, d) => ({
    dtype: 'F32',
    shape: [values.length / d, d],
    data: new Uint8Array(values.slice().buffer),
  }),
  f16: halfRows,
}

/** Largest magnitude that a row keeps in 16-bit floats (which end at 65,504). */
const largest = 32_768

/**
 * Rows [n, d] as 16-bit floats. A row too large for them is scaled down, which changes nothing: the layer's norm
 * divides it by its root mean square, and beside a row so large the norm's epsilon vanishes.
 */
function halfRows(values: Float32Array, d: number): FileTensor {
  const half = new Float16Array(values.length)
  for (let start = 0; start < values.length; start += d) {
    const row = values.subarray(start, start + d)
    const peak = row.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
    half.set(peak > largest ? row.map((x) => (x * largest) / peak) : row, start)
  }
  return { dtype: 'F16', shape: [values.length / d, d], data: new Uint8Array(half.buffer) }
}
