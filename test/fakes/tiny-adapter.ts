import { type AdapterMetadata, adapterTensorSpecs, serializeAdapterFile } from '../../shared/adapter-file.ts'
import { BackboneSlug } from '../../shared/ids.ts'
import type { FileTensor } from '../../shared/safetensors.ts'
import { fakeBackbone } from './fake-backend.ts'

/** The file of a static adapter for the fake backbone, of two layers of width four; `seed` changes its values. */
export function tinyAdapter({
  backbone = fakeBackbone,
  rows = 2,
  seed,
}: {
  backbone?: AdapterMetadata['backbone_sha256']
  rows?: number
  seed: number
}): Uint8Array<ArrayBuffer> {
  const metadata: AdapterMetadata = {
    format: 'quartet-adapter/1',
    kind: 'static',
    anchor: 'none',
    placement: 'first',
    precision: 'f16',
    backbone: BackboneSlug.parse('fake'),
    backbone_sha256: backbone,
    d: 4,
    layers: 2,
    l_sp: rows,
  }
  const tensors = new Map<string, FileTensor>()
  for (const [name, { dtype, shape }] of adapterTensorSpecs(metadata)) {
    const values = new Uint16Array(shape.reduce((size, n) => size * n, 1)).map(
      (_, at) => 0x3c00 + seed * 16 + at,
    )
    tensors.set(name, { dtype, shape, data: new Uint8Array(values.buffer) })
  }
  return serializeAdapterFile({ metadata, provenance: {}, tensors })
}
