/** A new part of an answer in which functions may be called. Calls count from 0. */
export type AnswerPiece =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'call'; readonly call: number; readonly name: string }
  /** More of a call's arguments, which are JSON when they are whole. */
  | { readonly type: 'arguments'; readonly call: number; readonly text: string }

/** Reads calls from a text in pieces. */
export interface CallReader {
  /** How much of the text is read for calls; the rest is of something else. */
  push(text: string): number
  /** `more`: it wants what follows; `over`: its calls are whole; `none`: it was none, from its first character on. */
  readonly status: 'more' | 'over' | 'none'
  /** The text of a later call that turned out to be none. */
  readonly rest: string
  /** Takes the pieces that were found since the last time. */
  take(): AnswerPiece[]
}

/** Gives numbers to calls, and knows which functions were offered. */
export interface CallCounter {
  readonly isOffered: (name: string) => boolean
  next(): number
}
