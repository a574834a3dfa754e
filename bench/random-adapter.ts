import { type AdapterFile, AdapterMetadata, adapterTensorSpecs } from '../shared/adapter-file.ts'
import type { BackboneManifest, BackboneShape } from '../shared/backbone.ts'
import type { FileTensor } from '../shared/safetensors.ts'

/** A generator of numbers in [0, 1) from a seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** GELU as a rational function: a0..a6, b1..b5. */
const gelu = [0.000028, 0.5, 0.398502, 0.162301, 0.064052, 0.018317, 0.0021, 0, 0.324603, 0, 0.036634, 0]

export interface RandomAdapter {
  readonly seed: number
  /** The fields that are not the default. */
  readonly metadata?: Readonly<Record<string, string>>
}

/** The parts of a manifest that an adapter must know of its backbone. */
export interface ManifestShape extends Pick<BackboneManifest, 'slug' | 'digest'> {
  readonly config: BackboneShape
}

/**
 * An adapter with small random weights around the backbone's sink. By default of the kind iapt, at m = 16 about 1.1 MB
 * for 30 layers of 576.
 */
export function randomAdapter(
  manifest: ManifestShape,
  { seed, metadata: given = {} }: RandomAdapter,
): AdapterFile {
  const metadata = AdapterMetadata.parse({
    format: 'quartet-adapter/1',
    kind: 'iapt',
    anchor: 'sink',
    placement: 'after-first',
    backbone: manifest.slug,
    backbone_sha256: manifest.digest,
    d: String(manifest.config.d),
    layers: String(manifest.config.layers),
    l_sp: '4',
    ...(given.kind === 'static' ? {} : { m: '16', window: '256' }),
    ...(given.kind === 'ipt' ? { vocab: String(manifest.config.vocab) } : {}),
    ...given,
  })
  const random = randomFrom(seed)
  const tensors = new Map<string, FileTensor>()
  for (const [name, { dtype, shape }] of adapterTensorSpecs(metadata)) {
    const count = shape.reduce((product, n) => product * n, 1)
    const values =
      dtype === 'F32'
        ? new Float32Array(gelu)
        : Float16Array.from({ length: count }, () => (random() - 0.5) * 0.1)
    tensors.set(name, { dtype, shape, data: new Uint8Array(values.buffer) })
  }
  return { metadata, provenance: {}, tensors }
}
