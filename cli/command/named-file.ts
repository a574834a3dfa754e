import { readFile } from 'node:fs/promises'
import { CliFailure, isSystemError } from './failure.ts'

/** The bytes of a file that the command line names. The system's own error for a folder names nothing. */
export async function readNamedFile(path: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return new Uint8Array(await readFile(path))
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'EISDIR') throw error
    throw new CliFailure(`${path} is a folder`, { remedy: 'name a file in it' })
  }
}

/**
 * The text of a file that the command line names, without the mark that some editors put in front of UTF-8: a model would
 * read the mark, and what stands for bytes that are no text.
 */
export async function readNamedText(path: string): Promise<string> {
  const bytes = await readNamedFile(path)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new CliFailure(`${path} is not UTF-8 text`, { remedy: 'save the file as UTF-8', cause })
  }
}
