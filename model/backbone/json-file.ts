import { readFile, stat } from 'node:fs/promises'
import { RefusedJson } from '../../shared/json-depth.ts'
import { parseUniqueNames } from '../../shared/unique-names.ts'
import { invalidBackbone } from './invalid-backbone.ts'

const maxJsonBytes = 128 * 1024 * 1024

/** A file's text, or undefined when there is no such file. Throws `backbone_invalid` when it is too large. */
export async function readTextFile(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) return undefined
  if (!found.isFile()) throw invalidBackbone(path, 'it is a folder where a file must be')
  if (found.size > maxJsonBytes)
    throw invalidBackbone(path, `it has ${found.size} bytes; at most ${maxJsonBytes} are read`)
  return readFile(path, 'utf8')
}

/** Reads JSON. A vocabulary may have any token as a name, `__proto__` too, and takes `JSON.parse`. */
type Parse = (text: string) => unknown

/** A JSON file's value, or undefined when there is no such file. Throws `backbone_invalid`. */
export async function readJsonFile(path: string, parse: Parse = parseUniqueNames): Promise<unknown> {
  const text = await readTextFile(path)
  if (text === undefined) return undefined
  try {
    return parse(text)
  } catch (error) {
    if (error instanceof RefusedJson) throw invalidBackbone(path, error.message, error)
    throw invalidBackbone(path, 'it is not JSON', error)
  }
}

/** A JSON file's value. Throws `backbone_invalid` when it is missing or not JSON. */
export async function requireJsonFile(path: string, parse?: Parse): Promise<unknown> {
  const value = await readJsonFile(path, parse)
  if (value === undefined) throw invalidBackbone(path, 'the file is missing')
  return value
}
