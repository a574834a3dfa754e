import type { RowPlaces } from '../training/graph/placement.ts'

/** Prompt rows of one group, which stand together. */
const group = (place: number, rows: number) => Array<number>(rows).fill(place)

/**
 * Layouts that are tried and not served, by name: four rows in front of the generation header, as late rows stand, and
 * further ones elsewhere. `tail`: the tokens of that header.
 */
export const layouts = {
  /** Eight rows: four in front of the last turn as well, behind its first token; of prompts of one turn. */
  'turn-and-header': {
    rows: 8,
    places:
      (tail) =>
      ({ instruction }) => [...group(1, 4), ...group(instruction - tail, 4)],
  },
  /** Eight rows: four in front of the header and four behind it. */
  'around-header': {
    rows: 8,
    places:
      (tail) =>
      ({ instruction }) => [...group(instruction - tail, 4), ...group(instruction, 4)],
  },
  /** Ten rows: four in front of the header, two in front of each eighth token of the answer up to the 24th. */
  'along-answer': {
    rows: 10,
    places:
      (tail) =>
      ({ instruction, response }) => [
        ...group(instruction - tail, 4),
        // The last token of a response is not read: rows behind the others are seen by none.
        ...[8, 16, 24].flatMap((at) => group(instruction + Math.min(at, response - 1), 2)),
      ],
  },
} as const satisfies Record<string, { readonly rows: number; readonly places: (tail: number) => RowPlaces }>
export type LayoutName = keyof typeof layouts
