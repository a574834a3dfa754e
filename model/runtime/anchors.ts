import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { parseSafeTensors } from '../../shared/safetensors.ts'
import { encodeModel } from '../graph/encode.ts'
import { graphFiles } from '../graph/export.ts'
import type { Graph } from '../graph/graph.ts'
import { type BackboneWeights, type LayerRange, traceGraph } from '../graph/model.ts'
import { InferenceSession } from './session.ts'
import { float32, floats, int32, int64 } from './tensors.ts'

const anchorsFile = 'anchors.safetensors'
const partFile = 'trace-part.onnx'

/** Weights in f32 of the layers that are loaded at a time. */
const bytesInPart = 512 * 1024 ** 2

/**
 * s_l, the anchor of each layer: the hidden state that enters it for a sequence of this first token alone. It is
 * divided by its root mean square where the layer's norm undoes that, and kept as it is where attention reads hidden
 * states without a norm. [layers, d]. Loads some layers at a time, so that a model may be larger than the memory there
 * is. Throws `backbone_invalid`.
 */
export async function computeAnchors(
  folder: string,
  {
    config,
    firstToken,
    weights,
    bytesAtOnce = bytesInPart,
  }: BackboneWeights & { readonly firstToken: number; readonly bytesAtOnce?: number },
): Promise<Float32Array> {
  const { d, layers, norms } = config
  const hidden = new Float32Array(layers * d)
  for (const range of layerRanges(config, bytesAtOnce)) {
    const start = range.first * d
    const entering = range.first === 0 ? undefined : hidden.slice(start, start + d)
    const graph = traceGraph({ config, weights, range })
    hidden.set(await traceOne(folder, { graph, firstToken, ...(entering && { entering }) }), start)
  }
  for (let layer = 0; layer < layers; layer++) {
    const row = hidden.subarray(layer * d, (layer + 1) * d)
    if (norms !== 'after') scaleToUnitRms(row)
    if (!row.every(Number.isFinite))
      throw new QuartetError(
        'backbone_invalid',
        `the model gives no numbers: the hidden state of token ${firstToken} that enters layer ${layer} is not finite, though every weight is; the weights in front of it are too large: download or convert the model again`,
      )
  }
  return hidden
}

/** One behind the other, each from the last layer of the one before. */
function* layerRanges(
  { d, ffn, headDim, heads, kvHeads, layers }: ModelConfig,
  bytes: number,
): Generator<LayerRange> {
  const attention = d * (2 * heads + 2 * kvHeads) * headDim
  const layerBytes = (attention + 3 * d * ffn) * Float32Array.BYTES_PER_ELEMENT
  const each = Math.max(1, Math.floor(bytes / layerBytes))
  for (let first = 0; first === 0 || first < layers - 1; first += each)
    yield { first, last: Math.min(layers - 1, first + each) }
}

/** The states [layers, d] of a sequence of one token. */
async function traceOne(
  folder: string,
  { entering, firstToken, graph }: { graph: Graph; firstToken: number; entering?: Float32Array },
): Promise<Float32Array> {
  const path = join(folder, partFile)
  await writeFile(path, encodeModel(graph, { weightsFile: graphFiles.weights, opset: 18 }))
  try {
    const session = await InferenceSession.open({ folder, graph: partFile }, { device: 'cpu' })
    try {
      const feeds = {
        tokens: int64([firstToken], [1, 1]),
        last_row: int32([0]),
        total_rows: int32([1], []),
        ...(entering && { entering: float32(entering, [1, entering.length]) }),
      }
      const { hidden } = await session.run(feeds, ['hidden'])
      return floats(hidden).slice()
    } finally {
      await session.release()
    }
  } finally {
    await rm(path, { force: true })
  }
}

/** A row of zeros, which a token that was never trained may have, stays as it is. */
function scaleToUnitRms(row: Float32Array): void {
  const rms = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / row.length)
  for (const [i, x] of row.entries()) row[i] = rms === 0 ? 0 : x / rms
}

/** The anchors of a backbone folder, [layers, d]. Throws `backbone_invalid`. */
export async function loadAnchors(folder: string, { layers, d }: ModelConfig): Promise<Float32Array> {
  const path = join(folder, anchorsFile)
  const { tensors } = parseSafeTensors(await readFile(path))
  const sink = tensors.get('sink')
  if (sink?.dtype !== 'F32' || sink.shape.join() !== `${layers},${d}`)
    throw new QuartetError(
      'backbone_invalid',
      `${path} holds no f32 tensor sink of shape [${layers},${d}]; remove the folder and pull the backbone again`,
    )
  // Copied: a tensor in the file need not lie at a multiple of four bytes.
  return new Float32Array(Uint8Array.from(sink.data).buffer)
}
