import { maxFileBytes } from '../../shared/api/files.ts'
import { QuartetError } from '../../shared/errors.ts'
import { RefusedJson } from '../../shared/json-depth.ts'
import { parseUniqueNames } from '../../shared/unique-names.ts'

/** A line of a JSONL file and what it says. Lines count from 1. */
export interface JsonLine {
  readonly line: number
  readonly value: unknown
}

/** Why a line cannot be used, in words that follow “line 3: ”. */
export interface LineProblem {
  readonly line: number
  readonly problem: string
}

export const maxDataLineBytes = 4 * 1024 * 1024
const maxLines = 1_000_000

const newline = 0x0a
const byteOrderMark = [0xef, 0xbb, 0xbf]

/** Files that are often given for JSONL, by their first bytes. */
const others: readonly { readonly starts: readonly number[]; readonly remedy: string }[] = [
  { starts: [0x1f, 0x8b], remedy: 'it is compressed with gzip; unpack it first (gunzip)' },
  { starts: [0x50, 0x4b, 0x03, 0x04], remedy: 'it is a zip archive; unpack it first' },
  { starts: [0x28, 0xb5, 0x2f, 0xfd], remedy: 'it is compressed with zstd; unpack it first' },
  { starts: [0x50, 0x41, 0x52, 0x31], remedy: 'it is a Parquet file; export it as JSONL' },
  { starts: [0xff, 0xfe], remedy: 'it is UTF-16 text; save it as UTF-8' },
  { starts: [0xfe, 0xff], remedy: 'it is UTF-16 text; save it as UTF-8' },
]

/**
 * The values of a JSONL file, and the lines that hold none. Blank lines are skipped.
 * Throws `training_data_invalid` for a file that is something else altogether or too large.
 */
export function parseJsonl(
  file: Uint8Array,
  name: string,
): { values: readonly JsonLine[]; problems: readonly LineProblem[] } {
  checkFile(file, name)
  const values: JsonLine[] = []
  const problems: LineProblem[] = []
  let line = 0
  for (const bytes of linesOf(file)) {
    line++
    if (line > maxLines) throw invalidFile(name, `it has more than ${maxLines} lines; train on a part of it`)
    const parsed = parseLine(bytes)
    if ('problem' in parsed) problems.push({ line, ...parsed })
    else if ('value' in parsed) values.push({ line, ...parsed })
  }
  return { values, problems }
}

export function invalidFile(name: string, why: string): QuartetError {
  return new QuartetError('training_data_invalid', `${name}: ${why}`)
}

function checkFile(file: Uint8Array, name: string): void {
  if (file.length > maxFileBytes)
    throw invalidFile(
      name,
      `it has ${file.length} bytes; at most ${maxFileBytes} are read, so train on a part of it`,
    )
  for (const { starts, remedy } of others)
    if (starts.every((byte, i) => file[i] === byte)) throw invalidFile(name, remedy)
  const remedy = remedyOfText(firstLine(file))
  if (remedy !== undefined) throw invalidFile(name, remedy)
}

const shownBytes = 4096

/** The beginning of the first line that is not blank. */
function firstLine(file: Uint8Array): string {
  return new TextDecoder().decode(file.subarray(0, shownBytes)).trimStart().split('\n', 1)[0] ?? ''
}

/** A first cell in quotes, and a separator. */
const quotedCell = /^"(?:[^"]|"")*"\s*[,;\t]/

/** The remedy for a text that is no JSONL, judged by its first line. */
function remedyOfText(line: string): string | undefined {
  if (line.startsWith('['))
    return "it is a JSON array; write one object per line: jq -c '.[]' FILE > FILE.jsonl"
  if (line.trim() === '{')
    return 'its JSON goes on over several lines; write one object per line: jq -c . FILE > FILE.jsonl'
  const cells = line.split(/[,;\t]/)
  const isHeader =
    cells.length > 1 && cells.every((cell) => /^\s*"?[\p{L}_][\p{L}\p{N}_ -]*"?\s*$/u.test(cell))
  if (!isHeader && !quotedCell.test(line)) return undefined
  const columns = cells.map((cell) => cell.trim().replaceAll('"', '')).join(', ')
  return `it is a table${isHeader ? ` with the columns ${columns}` : ''}; write each row as one line {"prompt": "…", "completion": "…"}`
}

function* linesOf(file: Uint8Array): Generator<Uint8Array> {
  let start = byteOrderMark.every((byte, i) => file[i] === byte) ? byteOrderMark.length : 0
  while (start < file.length) {
    const found = file.indexOf(newline, start)
    const end = found === -1 ? file.length : found
    yield file.subarray(start, end)
    start = end + 1
  }
}

function parseLine(bytes: Uint8Array): { value: unknown } | { problem: string } | { blank: true } {
  if (bytes.length > maxDataLineBytes)
    return { problem: `it has ${bytes.length} bytes; a line has at most ${maxDataLineBytes}` }
  const text = decode(bytes)
  if (text === undefined) return { problem: 'it is not UTF-8 text; save the file as UTF-8' }
  if (text.includes('\0')) return { problem: 'it holds binary data; write one JSON object per line' }
  const trimmed = text.trim()
  if (trimmed === '') return { blank: true }
  try {
    return { value: parseUniqueNames(trimmed) }
  } catch (thrown) {
    if (thrown instanceof RefusedJson) return { problem: `${thrown.message}; ${thrown.remedy}` }
    return {
      problem: ['[', '[{', '{'].includes(trimmed)
        ? 'the JSON value goes on over several lines; write one object per line'
        : `it is not JSON (${excerpt(trimmed)}); write one JSON object per line`,
    }
  }
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
}

const excerptLength = 40

/** The start of a text, safe to show on a terminal. */
function excerpt(text: string): string {
  const shown = text.slice(0, excerptLength).replaceAll(/\p{Cc}/gu, '·')
  return `it begins with ${shown}${text.length > excerptLength ? '…' : ''}`
}
