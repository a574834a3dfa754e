import { readFile } from 'node:fs/promises'
import { QuartetError } from '../../shared/errors.ts'
import type { Backbone } from '../backbone/backbone-folder.ts'
import { type CacheScales, int8CacheGraph, withInt8Cache } from '../graph/int8-cache.ts'
import { passingOnNaN } from '../graph/rows-without-numbers.ts'
import { backboneCodec } from '../import/backbone-tokenizer.ts'
import { promptWindows } from '../import/prompt-windows.ts'
import { createBackend } from '../runtime/create-backend.ts'
import { HostRows } from '../runtime/host-rows.ts'
import { writeGraph } from './write-graph.ts'

/** Tokens of the text that are read. */
const mostTokens = 512
const chunkTokens = 128
const largest = 127
/**
 * The scales leave so much room above the largest value of the text: what is larger is cut off, which costs more than coarser
 * steps do.
 */
const headroom = 1.5
/** So that a channel that is 0 throughout the text has a scale. */
const leastScale = 1e-6

/**
 * Writes the graph with an 8-bit cache into the backbone's folder, unless it is there. Throws `backbone_invalid` where the
 * folder cannot be written.
 */
export async function prepareInt8Cache(backbone: Backbone, tokens?: readonly number[]): Promise<void> {
  const { config } = backbone.manifest
  await writeGraph(backbone, {
    file: int8CacheGraph,
    type: 'int8',
    make: async (model) =>
      passingOnNaN(withInt8Cache(model, { config, scales: await cacheScales(backbone, tokens) })),
  })
}

/**
 * The scales of an 8-bit cache from the text in calibration.txt, or from other tokens: the largest key and value of each
 * channel of a head, and room for larger ones. Throws `invalid_request` for weights that the CPU, on which they are measured,
 * does not multiply, `backbone_invalid` where the tokenizer makes no tokens of the text.
 */
export async function cacheScales(backbone: Backbone, tokens?: readonly number[]): Promise<CacheScales[]> {
  if (backbone.manifest.weights === 'bf16')
    throw new QuartetError(
      'invalid_request',
      '--cache-type int8 needs scales that are measured on the CPU, which has no products of bf16 weights; use --cache-type f16, or import the model with --weights f16 or q8',
      { param: '--cache-type' },
    )
  return await measureScales(backbone, tokens ?? (await textTokens(backbone)))
}

async function textTokens(backbone: Backbone): Promise<readonly number[]> {
  const text = await readFile(new URL('calibration.txt', import.meta.url), 'utf8')
  const { contextLength } = backbone.manifest.config
  const length = Math.min(mostTokens, contextLength)
  const [first = []] = promptWindows(await backboneCodec(backbone), { text, length })
  if (first.length === 0)
    throw new QuartetError(
      'backbone_invalid',
      'the backbone’s tokenizer makes no tokens of an English text, on which --cache-type int8 measures its scales; serve it with another --cache-type, or import it with its own tokenizer',
    )
  return first
}

/** Runs the tokens through the model with an f32 cache. */
async function measureScales(
  { folder, manifest }: Backbone,
  tokens: readonly number[],
): Promise<CacheScales[]> {
  const { headDim, kvHeads } = manifest.config
  const { length } = tokens
  const limits = { contextLength: length, chunkTokens, maxBatch: 1, cacheRows: length }
  const backend = await createBackend({ folder, manifest, device: 'cpu', limits })
  try {
    const slot = backend.allocate(length)
    if (slot === undefined) throw new Error('a cache of one text holds one')
    for (let start = 0; start < length; start += chunkTokens)
      await backend.prefill({ slot, tokens: tokens.slice(start, start + chunkTokens) })
    const kept = await backend.keepRows(slot, { start: 0, end: length, tokens: length })
    if (!(kept instanceof HostRows)) throw new Error('a cache on the host gives rows of the host')
    const scales = kept.data.map((bytes) => channelScales(bytes, { headDim, kvHeads }))
    const none = new Float32Array()
    return kept.rows.map((_, layer) => ({
      key: scales[2 * layer] ?? none,
      value: scales[2 * layer + 1] ?? none,
    }))
  } finally {
    await backend.close()
  }
}

/** The scales [kvHeads, headDim] of f32 rows [kvHeads, rows, headDim]. */
function channelScales(
  bytes: Uint8Array,
  { headDim, kvHeads }: { headDim: number; kvHeads: number },
): Float32Array {
  const values = new Float32Array(bytes.slice().buffer)
  const ofHead = values.length / kvHeads
  const scales = new Float32Array(kvHeads * headDim).fill(leastScale)
  for (const [at, value] of values.entries()) {
    const channel = Math.floor(at / ofHead) * headDim + (at % headDim)
    scales[channel] = Math.max(scales[channel] ?? 0, (headroom * Math.abs(value)) / largest)
  }
  return scales
}
