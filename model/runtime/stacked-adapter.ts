import { QuartetError } from '../../shared/errors.ts'
import type { PromptTensors } from './adapter-tensors.ts'
import type { LoadedAdapter } from './backend.ts'

/**
 * Late adapters whose rows stand one behind the other. Rows enter a layer as keys and values only, so a part's depend on
 * the window's tokens and on its own place, and not on the other parts.
 */
export class StackedAdapter implements LoadedAdapter {
  readonly parts: readonly PromptTensors[]
  readonly placement = 'late'
  readonly tail: number

  /** Throws `invalid_request` unless all are late, with the same tail. */
  constructor(parts: readonly PromptTensors[]) {
    const [tail, ...others] = new Set(parts.map((part) => part.tail))
    if (tail === undefined || others.length > 0)
      throw new QuartetError(
        'invalid_request',
        'adapters are stacked only where the rows of all of them are late and have the same tail',
        { param: 'behind' },
      )
    this.parts = parts
    this.tail = tail
  }

  get rows(): number {
    return this.parts.reduce((sum, { rows }) => sum + rows, 0)
  }

  get window(): number {
    return Math.max(...this.parts.map(({ window }) => window))
  }

  /** The stack has no bytes of its own; its parts are counted where they are held. */
  get bytes(): number {
    return 0
  }

  /** Its parts in order, each with the number of rows in front of its own. */
  *places(): Generator<{ readonly part: PromptTensors; readonly rowsInFront: number }> {
    let rowsInFront = 0
    for (const part of this.parts) {
      yield { part, rowsInFront }
      rowsInFront += part.rows
    }
  }
}
