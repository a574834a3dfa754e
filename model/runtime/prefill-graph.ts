import type { BackboneManifest } from '../../shared/backbone.ts'
import { withFloatMatrices } from '../graph/float-matrices.ts'
import { hasQuants, type PrefillWeights } from './prefill-weights.ts'

/** What becomes of a graph that reads tokens by these weights, before it is loaded; nothing where the stored ones read them. */
export function prefillChange(
  manifest: Pick<BackboneManifest, 'weights'>,
  weights: PrefillWeights,
): ((model: Uint8Array) => Uint8Array) | undefined {
  return weights === 'f32' && hasQuants(manifest) ? withFloatMatrices : undefined
}
