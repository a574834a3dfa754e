import { bytesOfCacheType, type CacheType } from '../model/runtime/cache-type.ts'
import type { OnnxBackend } from '../model/runtime/onnx-backend.ts'
import type { ModelConfig } from '../shared/backbone.ts'
import type { Measured } from './gpu-backbone.ts'
import type { Figure } from './report.ts'
import { prefill, prompt } from './sequences.ts'

/** So many sequences, of so many tokens, that the keys of one layer are more than the inputs of a step. */
const [sequences, context] = [4, 512]

/** Bytes of those keys: fewer cross in a step whose cache lies on the device. */
function bytesOfKeys({ headDim, kvHeads }: ModelConfig, type: CacheType): number {
  return sequences * context * kvHeads * headDim * bytesOfCacheType[type]
}

/** Bytes that cross in a decode step of four, beside its logits: nothing of a cache that lies on the device. */
export async function crossingFigure(
  backend: OnnxBackend,
  { config, on }: { config: ModelConfig; on: Measured },
): Promise<Figure> {
  using slots = new DisposableStack()
  const batch = []
  for (let at = 0; at < sequences; at++) {
    const slot = await prefill(backend, { tokens: prompt(context, backend.limits.vocab) })
    slots.defer(() => slot.release())
    batch.push({ slot, token: 5 })
  }
  const before = backend.hostBytes
  await backend.decode(batch)
  return {
    name: 'bytes that cross in a decode step of four, beside logits',
    value: backend.hostBytes - before - sequences * Float32Array.BYTES_PER_ELEMENT * backend.limits.vocab,
    unit: 'bytes',
    ...(on.device !== 'cpu' && { bound: { kind: 'at most', value: bytesOfKeys(config, on.cacheType) - 1 } }),
  }
}
