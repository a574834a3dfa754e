import { type AdapterFile, parseAdapterFile } from '../../shared/adapter-file.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { PromptFormat, ServingEncoder } from '../../shared/training/prompt-encoder.ts'
import type { AdapterStart } from '../../training/start/start.ts'
import { readNamedFile, readNamedText } from '../command/named-file.ts'
import type { TrainCommandOptions } from './options.ts'

/** Where an adapter's rows start, and how its file names that. */
export interface ChosenStart {
  readonly start: AdapterStart
  readonly name: string
}

/** The adapter file that `--init` names, where it names one. */
export function initFile(init: string): string | undefined {
  return init === 'anchor' || init === 'random' ? undefined : init
}

export async function chosenStart(
  {
    init,
    initText,
    initTextFile,
    placement,
    port = false,
    prompts,
  }: Pick<TrainCommandOptions, 'init' | 'initText' | 'initTextFile' | 'placement' | 'prompts'> &
    Partial<Pick<TrainCommandOptions, 'port'>>,
  encoder: ServingEncoder,
): Promise<ChosenStart> {
  const text = initTextFile === undefined ? initText : await readNamedText(initTextFile)
  if (text !== undefined) {
    const begin = placement === 'first' ? undefined : firstToken(encoder, prompts)
    return {
      start: { from: 'text', tokens: encoder.plain(text), begin },
      name: `text ${await sha256Hex(text)}`,
    }
  }
  if (init === 'anchor' || init === 'random') return { start: { from: 'fresh', rows: init }, name: init }
  const bytes = await readNamedFile(init)
  return {
    start: { from: 'adapter', file: adapterIn(bytes, init), port },
    name: `adapter ${await sha256Hex(bytes)}`,
  }
}

function adapterIn(bytes: Uint8Array, path: string): AdapterFile {
  try {
    return parseAdapterFile(bytes)
  } catch (cause) {
    if (!(cause instanceof QuartetError)) throw cause
    throw new QuartetError(
      cause.code,
      `--init ${path}: ${cause.message}; name an adapter file, or one of anchor and random`,
      { cause },
    )
  }
}

/** The tokens that every prompt starts with, so that rows behind it are read as they will stand. */
function firstToken(encoder: ServingEncoder, prompts: PromptFormat): number | undefined {
  if (prompts === 'raw') return encoder.prompt('')[0]
  return encoder.conversation([{ role: 'user', content: 'a', name: undefined }])[0]
}
