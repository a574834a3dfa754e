import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import { loadAnchors } from '../../model/runtime/anchors.ts'
import { Trace } from '../../model/runtime/trace.ts'
import type { AdapterFile, AdapterMetadata } from '../../shared/adapter-file.ts'
import type { Parameters } from '../loss/loss-model.ts'
import type { TrainSettings } from '../settings.ts'
import { freshParameters, type RowStart } from './fresh.ts'
import { parametersFrom } from './from-adapter.ts'
import { startFromText, type TracedText } from './from-text.ts'

export type AdapterStart =
  | { readonly from: 'fresh'; readonly rows: RowStart }
  /** `port`: it was made on other weights than those it is trained on from here. */
  | { readonly from: 'adapter'; readonly file: AdapterFile; readonly port?: boolean }
  /** Rows from a text; `begin` is the token that every prompt starts with, if there is one. */
  | { readonly from: 'text'; readonly tokens: readonly number[]; readonly begin?: number | undefined }

/** The values that an adapter's training starts with. Throws QuartetError where they do not fit the adapter. */
export async function startParameters(
  backbone: Backbone,
  {
    metadata,
    settings: { downDeviation, seed },
    start,
  }: {
    metadata: AdapterMetadata
    settings: Pick<TrainSettings, 'downDeviation' | 'seed'>
    start: AdapterStart
  },
): Promise<Parameters> {
  if (start.from === 'adapter') return parametersFrom(start.file, metadata, start)
  const anchors = await loadAnchors(backbone.folder, backbone.manifest.config)
  const rows = start.from === 'fresh' ? start.rows : 'anchor'
  const parameters = freshParameters(metadata, { seed, rows, anchors, downDeviation })
  if (start.from === 'fresh') return parameters
  return startFromText(parameters, { metadata, text: await traceText(backbone, start) })
}

/** Hidden states of a text that stands behind `begin`. Throws `backbone_invalid`. */
async function traceText(
  { folder, manifest }: Backbone,
  { tokens, begin }: { tokens: readonly number[]; begin?: number | undefined },
): Promise<TracedText> {
  const trace = await Trace.open(folder)
  try {
    const front = begin === undefined ? [] : [begin]
    const hidden = await trace.hiddenStates([...front, ...tokens])
    const { layers, d } = manifest.config
    const rows = tokens.length * d
    const kept = new Float32Array(layers * rows)
    for (let layer = 0; layer < layers; layer++) {
      const start = layer * (rows + front.length * d) + front.length * d
      kept.set(hidden.subarray(start, start + rows), layer * rows)
    }
    return { tokens: tokens.length, hidden: kept }
  } finally {
    await trace.release()
  }
}
