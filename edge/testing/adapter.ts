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

/** An `ipt` adapter of about `bytes` bytes, all in its table; its values are no pattern that a cut could hide in. */
export async function makeLargeAdapter({
  backbone,
  bytes,
}: {
  backbone: { slug: BackboneSlug; digest: BackboneDigest }
  bytes: number
}): Promise<TestAdapter> {
  const [d, m, rows] = [4, 64, 1]
  const vocab = Math.ceil(bytes / (2 * m))
  const table = new Uint16Array(vocab * m).map((_, at) => 0x2000 + (Math.imul(at, 0x9e3779b1) >>> 19))
  const up = new Uint16Array(m * rows * d)
  const file = serializeAdapterFile({
    metadata: {
      format: 'quartet-adapter/1',
      kind: 'ipt',
      anchor: 'none',
      placement: 'first',
      activation: 'gelu',
      backbone: backbone.slug,
      backbone_sha256: backbone.digest,
      d,
      layers: 1,
      l_sp: rows,
      m,
      vocab,
      window: 512,
    },
    provenance: {},
    tensors: new Map([
      ['layers.0.table', { dtype: 'F16', shape: [vocab, m], data: new Uint8Array(table.buffer) }],
      ['layers.0.up', { dtype: 'F16', shape: [m, rows * d], data: new Uint8Array(up.buffer) }],
    ]),
  })
  return { digest: AdapterDigest.parse(await sha256Hex(file)), file }
}
