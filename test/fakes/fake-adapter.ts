import type { LoadedAdapter } from '../../model/runtime/backend.ts'

interface FakeAdapterOptions extends Partial<LoadedAdapter> {
  readonly identity: number
}

export class FakeAdapter implements LoadedAdapter {
  readonly rows: number
  readonly window: number
  readonly placement: LoadedAdapter['placement']
  readonly tail: number | undefined
  readonly bytes: number
  /** The adapter's effect on the logits. */
  readonly identity: number

  constructor({ bytes = 1, identity, placement, rows = 4, tail, window = 0 }: FakeAdapterOptions) {
    this.rows = rows
    this.window = window
    this.placement = placement ?? (tail === undefined ? 'first' : 'late')
    this.tail = tail
    this.bytes = bytes
    this.identity = identity
  }
}

/** An adapter as `FakeBackend.loadAdapter` gives it; another `identity` gives other tokens. */
export function fakeAdapter(options: FakeAdapterOptions): LoadedAdapter {
  return new FakeAdapter(options)
}
