import { serializeAdapterFile } from '../../shared/adapter-file.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { AdapterDigest, type BackboneDigest, type BackboneSlug } from '../../shared/ids.ts'

export interface TestAdapter {
  readonly digest: AdapterDigest
  readonly file: Uint8Array<ArrayBuffer>
}

/** A small `static` adapter with `rows` prompt rows; each seed gives other weights. */
export async function makeAdapter({
  backbone,
  rows = 2,
  seed,
}: {
  backbone: { slug: BackboneSlug; digest: BackboneDigest }
  seed: number
  rows?: number
}): Promise<TestAdapter> {
  const d = 4
  const data = new Uint8Array(new Uint16Array(rows * d).fill(0x3c00 + (seed % 0x300)).buffer)
  const file = serializeAdapterFile({
    metadata: {
      format: 'quartet-adapter/1',
      kind: 'static',
      anchor: 'none',
      placement: 'first',
      precision: 'f16',
      backbone: backbone.slug,
      backbone_sha256: backbone.digest,
      d,
      layers: 1,
      l_sp: rows,
    },
    provenance: {},
    tensors: new Map([['layers.0.static', { dtype: 'F16', shape: [rows, d], data }]]),
  })
  return { digest: AdapterDigest.parse(await sha256Hex(file)), file }
}
