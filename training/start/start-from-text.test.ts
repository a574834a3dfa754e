import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Trace } from '../../model/runtime/trace.ts'
import { describeAdapter } from '../../shared/training/describe-adapter.ts'
import { type TinyBackbone, tinyBackbone } from '../../test/parity/tiny-backbone.ts'
import { unitRows } from './from-text.ts'
import { startParameters } from './start.ts'

/** Rows from a text, through the graph that reads it. */

let backbone: TinyBackbone
beforeAll(async () => {
  backbone = await tinyBackbone()
})
afterAll(() => rm(dirname(backbone.folder), { recursive: true }))

const tokens = [7, 8, 9]

/** Hidden states of a sequence's last three tokens as they enter a layer, at unit RMS. */
async function lastRows(sequence: readonly number[], layer: number): Promise<Float32Array> {
  const trace = await Trace.open(backbone.folder)
  try {
    const hidden = await trace.hiddenStates(sequence)
    const { d } = backbone.manifest.config
    const end = (layer + 1) * sequence.length * d
    return unitRows(hidden.subarray(end - tokens.length * d, end), d)
  } finally {
    await trace.release()
  }
}

it.each([
  { begin: 5, placement: 'after-first' },
  { begin: undefined, placement: 'first' },
] as const)(
  'rows are read as they will stand: behind the first token of every prompt, if at all: %j',
  async ({ begin, placement }) => {
    const metadata = describeAdapter(
      { ...backbone.manifest, header: 0 },
      { kind: 'static', rows: tokens.length, placement },
    )
    const start = { from: 'text', tokens, begin } as const
    const parameters = await startParameters(backbone, {
      metadata,
      settings: { seed: 0, downDeviation: 4 },
      start,
    })
    const [behind, alone] = [await lastRows([5, ...tokens], 2), await lastRows(tokens, 2)]
    expect(behind).not.toEqual(alone)
    expect(parameters.get('layers.2.static')).toEqual(begin === undefined ? alone : behind)
  },
)
