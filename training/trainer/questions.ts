import { parseRow, type Row } from '../../shared/training/row.ts'
import type { FileExample } from '../data/dataset.ts'
import type { Example } from '../data/example.ts'

const newline = 0x0a

/**
 * What was asked last in each of these examples, as the file has it: for people, where a prompt's tokens hold the template as
 * well. `all`: the file's examples, in order.
 */
export function questionsOf(
  file: Uint8Array,
  { all, asked }: { readonly all: readonly FileExample[]; readonly asked: readonly FileExample[] },
): ReadonlyMap<Example, string> {
  const lines = new Map<number, readonly Row[]>(asked.map(({ line }) => [line, rowsAt(file, line)]))
  return new Map(
    asked.flatMap((example): [Example, string][] => {
      const ofLine = all.filter(({ line }) => line === example.line)
      const row = lines.get(example.line)?.[ofLine.indexOf(example)]
      return row === undefined ? [] : [[example, questionOf(row)]]
    }),
  )
}

function questionOf({ prompt }: Row): string {
  if (prompt.type === 'text') return prompt.text
  return prompt.messages.findLast(({ role }) => role === 'user')?.content ?? ''
}

/** The rows of a line that was read before; lines count from 1. */
function rowsAt(file: Uint8Array, line: number): readonly Row[] {
  let start = 0
  for (let at = 1; at < line; at++) start = file.indexOf(newline, start) + 1
  const end = file.indexOf(newline, start)
  const text = new TextDecoder().decode(file.subarray(start, end === -1 ? file.length : end))
  // As the file was read: white space that JSON does not know may stand around a line (data/jsonl.ts).
  const read = parseRow(JSON.parse(text.trim()))
  return 'problem' in read ? [] : read.rows
}
