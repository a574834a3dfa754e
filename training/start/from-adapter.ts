import { type AdapterFile, type AdapterMetadata, adapterTensorSpecs } from '../../shared/adapter-file.ts'
import { QuartetError } from '../../shared/errors.ts'
import { parametersOf } from '../as-written.ts'
import type { Parameters } from '../loss/loss-model.ts'
import { unitRows } from './from-text.ts'
import { ownRows } from './own-rows.ts'

/**
 * The metadata that may differ between an adapter and the one it starts from: it changes no tensor. The tail is the length of
 * the generation header that the backbone's template has now.
 */
const free = new Set(['window', 'precision', 'backbone', 'backbone_sha256', 'tail'])

/**
 * The tensors of another adapter as a start (PPT's pre-trained prompts for `static`). `port` takes one of other weights,
 * which fits where its sizes do.
 * Throws `backbone_mismatch`, and `adapter_invalid` that names what differs, where they do not fit.
 */
export function parametersFrom(
  file: AdapterFile,
  metadata: AdapterMetadata,
  { port = false }: { port?: boolean | undefined } = {},
): Parameters {
  if (!port && file.metadata.backbone_sha256 !== metadata.backbone_sha256)
    throw new QuartetError(
      'backbone_mismatch',
      `the adapter to start from is for the backbone ${file.metadata.backbone_sha256.slice(0, 12)} (${file.metadata.backbone}); this training is for ${metadata.backbone_sha256.slice(0, 12)} (${metadata.backbone}); choose its --backbone and --weights, carry it over with quartet adapter port, or choose another start`,
      { param: 'init' },
    )
  const theirs = new Map<string, unknown>(Object.entries(file.metadata))
  const ours = new Map<string, unknown>(Object.entries(metadata))
  for (const key of new Set(['kind', ...ours.keys(), ...theirs.keys()]))
    if (!free.has(key) && ours.get(key) !== theirs.get(key))
      throw new QuartetError(
        'adapter_invalid',
        `the adapter to start from has ${key} = ${theirs.get(key) ?? 'nothing'} and this training ${ours.get(key) ?? 'nothing'}; give the same, or start without --init`,
        { param: key },
      )
  const given = ownRows(metadata) === 'static' ? unitRowsOf(file) : parametersOf(file)
  return new Map(
    [...adapterTensorSpecs(metadata).keys()].map((name) => [name, given.get(name) ?? new Float32Array()]),
  )
}

/**
 * Rows of a compiled text have the size of hidden states, up to a thousand, where steps of a hundredth would change
 * nothing; the layer's norm makes rows of unit RMS the same.
 */
function unitRowsOf(file: AdapterFile): Parameters {
  return new Map([...parametersOf(file)].map(([name, rows]) => [name, unitRows(rows, file.metadata.d)]))
}
