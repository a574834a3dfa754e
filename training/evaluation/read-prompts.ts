import type { Example } from '../data/example.ts'
import { type OpenSequence, openSequence, type ServedModel } from './served-model.ts'

/** Tokens behind the prompt, read as a node reads those of a prompt, so that they score as in its prompt log-probabilities. */
interface Score {
  readonly type: 'score'
  readonly tokens: readonly number[]
  /** Gets the logits [vocab] after the token at this place of `tokens`; they are overwritten afterwards. */
  readonly onLogits: (logits: Float32Array, at: number) => void
}

/** A token of an answer, read as a node decodes it. */
interface DecodeStep {
  readonly type: 'step'
  readonly token: number
  /** Whether it stands behind the prompt, or behind what was read last. */
  readonly behind: 'prompt' | 'last'
  /** Gets the logits [vocab] after the token; they are overwritten afterwards. */
  readonly onLogits: (logits: Float32Array) => void
}

/** What a reader wants read. */
export type Read = Score | DecodeStep

/**
 * Works on one prompt that has been read: yields what is to be read behind it and returns a result. `next`: the logits
 * after the prompt, [vocab].
 */
type PromptReader<T> = (next: Float32Array) => Generator<Read, T, void>

export interface ReadablePrompt<T> extends Omit<Example, 'response'> {
  /** The longest that is read behind it, in tokens. */
  readonly room: number
  readonly reader: PromptReader<T>
}

/**
 * Reads every prompt once and runs its reader on it, as many prompts at a time as the backend batches. Results come in
 * the order of the prompts; `onRead` is called after each.
 */
export async function readPrompts<T>(
  model: ServedModel,
  prompts: readonly ReadablePrompt<T>[],
  { onRead = () => {} }: { readonly onRead?: (index: number) => void } = {},
): Promise<readonly T[]> {
  const results: T[] = []
  const waiting = [...prompts.entries()].reverse()
  let running: Running<T>[] = []
  try {
    while (waiting.length > 0 || running.length > 0) {
      while (running.length < model.backend.limits.maxBatch) {
        const [index, prompt] = waiting.pop() ?? []
        if (index === undefined || prompt === undefined) break
        running.push(new Running(index, await openSequence(model, prompt), prompt.reader))
      }
      const done = running.filter(({ state }) => 'result' in state)
      running = running.filter(({ state }) => 'read' in state)
      for (const { index, sequence, state } of done) {
        sequence[Symbol.dispose]()
        if ('result' in state) results[index] = state.result
        onRead(index)
      }
      await readOn(model.backend, running)
    }
  } finally {
    for (const { sequence } of running) sequence[Symbol.dispose]()
  }
  return results
}

class Running<T> {
  readonly index: number
  readonly sequence: OpenSequence
  readonly #steps: Generator<Read, T, void>
  state: { readonly read: Read } | { readonly result: T }

  constructor(index: number, sequence: OpenSequence, reader: PromptReader<T>) {
    this.index = index
    this.sequence = sequence
    this.#steps = reader(sequence.next)
    this.state = this.#next()
  }

  advance(): void {
    this.state = this.#next()
  }

  #next(): Running<T>['state'] {
    const step = this.#steps.next()
    return step.done ? { result: step.value } : { read: step.value }
  }
}

/** Reads what each of these prompts' readers wants, and asks them for what is next. */
async function readOn(backend: ServedModel['backend'], running: readonly Running<unknown>[]): Promise<void> {
  const { vocab } = backend.limits
  const reads = running.flatMap(({ sequence, state }) =>
    'read' in state ? [{ sequence, read: state.read }] : [],
  )
  for (const { read, sequence } of reads)
    if (read.type === 'score' || read.behind === 'prompt') sequence.rewind()
  for (const { read, sequence } of reads)
    if (read.type === 'score') await sequence.score(read.tokens, read.onLogits)
  const steps = reads.flatMap(({ read, sequence }) => (read.type === 'step' ? [{ read, sequence }] : []))
  if (steps.length > 0) {
    const logits = await backend.decode(
      steps.map(({ read: { token }, sequence: { slot } }) => ({ slot, token })),
    )
    for (const [row, { read, sequence }] of steps.entries()) {
      sequence.count(1)
      read.onLogits(logits.subarray(row * vocab, (row + 1) * vocab))
    }
  }
  for (const each of running) each.advance()
}
