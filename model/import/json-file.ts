import { readFile, stat } from 'node:fs/promises'
import { invalidBackbone } from './decoder-shape.ts'

const maxJsonBytes = 128 * 1024 * 1024

/** A file's text, or undefined when there is no such file. Throws `backbone_invalid` when it is too large. */
export async function readTextFile(path: string): Promise<string | undefined> {
  const size = await stat(path).then(
    ({ size }) => size,
    () => undefined,
  )
  if (size === undefined) return undefined
  if (size > maxJsonBytes)
    throw invalidBackbone(path, `it has ${size} bytes; at most ${maxJsonBytes} are read`)
  return readFile(path, 'utf8')
}

/** A JSON file's value, or undefined when there is no such file. Throws `backbone_invalid`. */
export async function readJsonFile(path: string): Promise<unknown> {
  const text = await readTextFile(path)
  if (text === undefined) return undefined
  try {
    return JSON.parse(text)
  } catch (error) {
    throw invalidBackbone(path, 'it is not JSON', error)
  }
}

/** A JSON file's value. Throws `backbone_invalid` when it is missing or not JSON. */
export async function requireJsonFile(path: string): Promise<unknown> {
  const value = await readJsonFile(path)
  if (value === undefined) throw invalidBackbone(path, 'the file is missing')
  return value
}
