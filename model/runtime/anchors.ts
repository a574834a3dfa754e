import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ModelConfig } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { parseSafeTensors } from '../../shared/safetensors.ts'
import { Trace } from './trace.ts'

const anchorsFile = 'anchors.safetensors'

/**
 * s_l, the anchor of each layer: the hidden state that enters it for a sequence of this first token alone. It is
 * divided by its root mean square where the layer's norm undoes that, and kept as it is where attention reads hidden
 * states without a norm. [layers, d]. Throws `backbone_invalid`.
 */
export async function computeAnchors(
  folder: string,
  { config, firstToken }: { config: ModelConfig; firstToken: number },
): Promise<Float32Array> {
  const trace = await Trace.open(folder)
  try {
    const hidden = await trace.hiddenStates([firstToken])
    for (let layer = 0; layer < config.layers; layer++) {
      const row = hidden.subarray(layer * config.d, (layer + 1) * config.d)
      if (config.norms !== 'after') scaleToUnitRms(row)
      if (!row.every(Number.isFinite))
        throw new QuartetError(
          'backbone_invalid',
          `the model gives no numbers: the hidden state of token ${firstToken} that enters layer ${layer} is not finite, though every weight is; the weights in front of it are too large: download or convert the model again`,
        )
    }
    return hidden
  } finally {
    await trace.release()
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
