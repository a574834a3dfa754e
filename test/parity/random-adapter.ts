import {
  type AdapterFile,
  AdapterMetadata,
  adapterTensorSpecs,
  parseAdapterFile,
  serializeAdapterFile,
} from '../../shared/adapter-file.ts'
import type { BackboneManifest } from '../../shared/backbone.ts'
import { Random } from '../../shared/prng.ts'
import type { FileTensor } from '../../shared/safetensors.ts'

/** GELU as a rational function: a0..a6, b1..b5 of the method. */
const rationalGelu = [
  0.000028, 0.5, 0.398502, 0.162301, 0.064052, 0.018317, 0.0021, 0, 0.324603, 0, 0.036634, 0,
]

/**
 * An adapter with random weights that passed through its file format. `metadata`: the fields that are not the default.
 */
export function randomAdapter(
  { slug, digest, config }: BackboneManifest,
  {
    seed,
    ...metadata
  }: { seed: number; kind?: string } & Readonly<Record<string, string | number | undefined>>,
): AdapterFile {
  const parsed = AdapterMetadata.parse({
    format: 'quartet-adapter/1',
    kind: 'iapt',
    backbone: slug,
    backbone_sha256: digest,
    d: String(config.d),
    layers: String(config.layers),
    l_sp: '4',
    ...(metadata.kind === 'static' ? {} : { m: '8', window: '512' }),
    ...(metadata.kind === 'ipt' ? { vocab: String(config.vocab) } : {}),
    ...Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, String(value)])),
  })
  const random = new Random(seed)
  const tensors = new Map<string, FileTensor>()
  for (const [name, { dtype, shape }] of adapterTensorSpecs(parsed)) {
    const size = shape.reduce((a, b) => a * b)
    const spread = name.endsWith('.down') ? 0.5 : 1
    const values = Array.from({ length: size }, () => (2 * random.next() - 1) * spread)
    const data = name.endsWith('.rational')
      ? Float32Array.from(rationalGelu, (c) => c * (1 + 0.2 * random.next()))
      : dtype === 'F32'
        ? Float32Array.from(values)
        : Float16Array.from(values)
    tensors.set(name, { dtype, shape, data: new Uint8Array(data.buffer) })
  }
  return parseAdapterFile(serializeAdapterFile({ metadata: parsed, provenance: {}, tensors }))
}
