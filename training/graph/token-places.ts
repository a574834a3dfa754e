/** A token of an example of a batch. */
export interface Place {
  readonly index: number
  readonly token: number
}

export const numbered = (count: number) => Array.from({ length: count }, (_, at) => at)

/** Lists one behind the other, each filled with zeros on the right up to a length. */
export function padded(lists: readonly (readonly number[])[], length: number): number[] {
  return lists.flatMap((list) => [...list, ...Array<number>(length - list.length).fill(0)])
}
