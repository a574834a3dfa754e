import { serializeAdapterFile } from '../../shared/adapter-file.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { AdapterDigest } from '../../shared/ids.ts'

export interface TestAdapter {
  readonly digest: AdapterDigest
  readonly file: Uint8Array<ArrayBuffer>
}

type Backbone = Pick<EdgeBackbone, 'slug' | 'digest' | 'd' | 'layers' | 'vocab'>

/** A small `static` adapter with `rows` prompt rows; each seed gives other weights. */
export async function makeAdapter({
  backbone: { d, digest, layers, slug },
  rows = 2,
  seed,
  tail,
  placement = tail === undefined ? 'first' : 'late',
}: {
  backbone: Pick<Backbone, 'slug' | 'digest' | 'd' | 'layers'>
  seed: number
  rows?: number
  /** Makes the rows late. */
  tail?: number
  placement?: 'first' | 'turn' | 'late'
}): Promise<TestAdapter> {
  const values = new Uint16Array(rows * d).fill(0x3c00 + (seed % 0x300))
  // Tenants of all tests of the project count up: no two seeds may give the same file.
  values[0] = 0x3c00 + Math.floor(seed / 0x300)
  const data = new Uint8Array(values.buffer)
  const tensors = Array.from(
    { length: layers },
    (_, layer) => [`layers.${layer}.static`, { dtype: 'F16', shape: [rows, d], data }] as const,
  )
  const file = serializeAdapterFile({
    metadata: {
      format: 'quartet-adapter/1',
      kind: 'static',
      anchor: 'none',
      placement,
      ...(tail === undefined ? {} : { tail }),
      precision: 'f16',
      backbone: slug,
      backbone_sha256: digest,
      d,
      layers,
      l_sp: rows,
    },
    provenance: {},
    tensors: new Map(tensors),
  })
  return { digest: AdapterDigest.parse(await sha256Hex(file)), file }
}

/** An `ipt` adapter of at least `bytes` bytes, all in its table; its values are no pattern that a cut could hide in. */
export async function makeLargeAdapter({
  backbone: { d, digest, layers, slug, vocab },
  bytes,
}: {
  backbone: Backbone
  bytes: number
}): Promise<TestAdapter> {
  const rows = 1
  const m = Math.ceil(bytes / (2 * vocab))
  const table = new Uint16Array(vocab * m).map((_, at) => 0x2000 + (Math.imul(at, 0x9e3779b1) >>> 19))
  const up = new Uint16Array(m * rows * d)
  const file = serializeAdapterFile({
    metadata: {
      format: 'quartet-adapter/1',
      kind: 'ipt',
      anchor: 'none',
      placement: 'first',
      activation: 'gelu',
      backbone: slug,
      backbone_sha256: digest,
      d,
      layers,
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
