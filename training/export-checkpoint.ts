import { type AdapterFile, adapterTensorSpecs, serializeAdapterFile } from '../shared/adapter-file.ts'
import { QuartetError } from '../shared/errors.ts'
import { adapterFile, asWritten } from './as-written.ts'
import { openCheckpoint } from './checkpoint.ts'
import { outcomeOf } from './provenance.ts'

export interface ExportedAdapter {
  readonly file: AdapterFile
  readonly bytes: Uint8Array<ArrayBuffer>
  /** The step its tensors are from, and how many were made. */
  readonly step: number
  readonly steps: number
  readonly devLoss: number | undefined
}

/**
 * The adapter that a training has reached at its checkpoint: the tensors with the lowest dev loss, or the last where
 * nothing was measured. Throws `checkpoint_invalid`, and `invalid_request` for one of before the first step.
 */
export function exportCheckpoint(checkpoint: Uint8Array): ExportedAdapter {
  const { metadata, origin, state } = openCheckpoint(checkpoint)
  if (state.step === 0)
    throw new QuartetError(
      'invalid_request',
      'the checkpoint is of before the first step, so there is no adapter yet; go on with --resume',
    )
  const { step, devLoss, parameters } = state.best ?? {
    step: state.step,
    devLoss: undefined,
    parameters: asWritten(state.parameters, adapterTensorSpecs(metadata)),
  }
  const provenance = { ...origin, ...outcomeOf({ outcome: 'interrupted', state, step, devLoss }) }
  const file = adapterFile(metadata, { parameters, provenance })
  return { file, bytes: serializeAdapterFile(file), step, steps: state.step, devLoss }
}
