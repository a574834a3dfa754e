import type { AnswerCalls } from './answer-calls.ts'
import type { AnswerPiece } from './call-pieces.ts'

export interface ParsedCall {
  readonly name: string
  /** JSON when it is whole. */
  readonly arguments: string
}

/** The text of a whole answer and its calls. */
export function answered(
  text: string,
  reader: AnswerCalls | undefined,
): { text: string; calls: readonly ParsedCall[] } {
  if (reader === undefined) return { text, calls: [] }
  return joined([...reader.push(text), ...reader.finish()])
}

/** Pieces put together. */
export function joined(pieces: readonly AnswerPiece[]): { text: string; calls: readonly ParsedCall[] } {
  let text = ''
  const calls: { name: string; arguments: string }[] = []
  for (const piece of pieces) {
    if (piece.type === 'text') text += piece.text
    else if (piece.type === 'call') calls[piece.call] = { name: piece.name, arguments: '' }
    else {
      const call = calls[piece.call]
      if (call !== undefined) call.arguments += piece.text
    }
  }
  return { text, calls }
}
