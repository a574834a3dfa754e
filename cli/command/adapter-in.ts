import { type AdapterFile, parseAdapterFile } from '../../shared/adapter-file.ts'
import { QuartetError } from '../../shared/errors.ts'
import { isCheckpoint } from '../../training/checkpoint.ts'

/** The adapter in a file's bytes. Throws what `parseAdapterFile` throws, with the path in front. */
export function adapterIn(path: string, bytes: Uint8Array): AdapterFile {
  if (isCheckpoint(bytes))
    throw new QuartetError(
      'adapter_invalid',
      `${path}: it is the checkpoint of a training that was interrupted; go on with adapter train --resume, or write its adapter with adapter export`,
    )
  try {
    return parseAdapterFile(bytes)
  } catch (error) {
    if (!(error instanceof QuartetError)) throw error
    throw new QuartetError(error.code, `${path}: ${error.message}`, { cause: error })
  }
}
