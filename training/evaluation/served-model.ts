import type { CacheSlot, LoadedAdapter } from '../../model/runtime/backend.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { type CutPrompt, endOfRun, makesRows } from '../../model/runtime/prompt-cut.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Example } from '../data/example.ts'

/** The model that answers: the backend as a node runs it, with an adapter or as the untuned backbone. */
export interface ServedModel {
  readonly backend: Pick<OnnxBackend, 'allocate' | 'decode' | 'limits' | 'score'>
  readonly adapter: LoadedAdapter | undefined
}

/** Positions whose logits are held at a time. */
const scoredTokens = 128
/** Cache rows for tokens that a run takes back, so that none of its queries is alone. */
const paddingRows = 2

/** A prompt that has been read, with logits of what comes next. */
export class OpenSequence implements Disposable {
  readonly slot: CacheSlot
  /** Logits of the token after the prompt, [vocab]. */
  readonly next: Float32Array
  readonly #backend: ServedModel['backend']
  #read = 0

  constructor({
    slot,
    next,
    backend,
  }: { slot: CacheSlot; next: Float32Array; backend: ServedModel['backend'] }) {
    this.slot = slot
    this.next = next
    this.#backend = backend
  }

  /** Reads on as a prompt is read, and gives the logits after each of these tokens, which are overwritten afterwards. */
  async score(
    tokens: readonly number[],
    onLogits: (logits: Float32Array, at: number) => void,
  ): Promise<void> {
    const { vocab } = this.#backend.limits
    for (let start = 0; start < tokens.length; start += scoredTokens) {
      const chunk = tokens.slice(start, start + scoredTokens)
      const logits = await this.#backend.score({ slot: this.slot, tokens: chunk }, [...chunk.keys()])
      this.count(chunk.length)
      for (const at of chunk.keys()) onLogits(logits.subarray(at * vocab, (at + 1) * vocab), start + at)
    }
  }

  /** Notes tokens that were read in a batch. */
  count(tokens: number): void {
    this.#read += tokens
  }

  /** Goes back to where the prompt ends. */
  rewind(): void {
    this.slot.rewind(this.#read)
    this.#read = 0
  }

  [Symbol.dispose](): void {
    this.slot.release()
  }
}

/**
 * Reads a prompt in chunks as the engine does, so that the prompt rows depend on the prompt alone. However it is cut,
 * the logits are those that a node computes.
 * `room`: how many tokens may follow. Throws `context_length_exceeded`.
 */
export async function openSequence(
  { backend, adapter }: ServedModel,
  { instruction, room, ...places }: Omit<Example, 'response'> & { readonly room: number },
): Promise<OpenSequence> {
  const { contextLength, chunkTokens, vocab } = backend.limits
  const tokens = instruction.length + room
  const rows = tokens + (adapter?.rows ?? 0)
  const slot = backend.allocate(rows, Math.max(0, Math.min(paddingRows, contextLength - rows)))
  if (slot === undefined || tokens > contextLength) {
    slot?.release()
    throw new QuartetError(
      'context_length_exceeded',
      `an example has ${tokens} tokens; this model has room for ${contextLength}`,
    )
  }
  try {
    let next: Float32Array = new Float32Array(0)
    const prompt = cutPrompt({ instruction, ...places }, adapter)
    for (const { start, end, hasRows } of runsOf(prompt, chunkTokens)) {
      const chunk = instruction.slice(start, end)
      const tuned = hasRows && adapter !== undefined ? { adapter, tail: prompt.tail } : {}
      next = await backend.score({ slot, tokens: chunk, ...tuned }, [chunk.length - 1])
    }
    return new OpenSequence({ slot, backend, next: next.slice(0, vocab) })
  } catch (error) {
    slot.release()
    throw error
  }
}

/** A prompt with the adapter's rows at the places that a node gives them. */
const cutPrompt = (
  { instruction, tail, turn = 0 }: Omit<Example, 'response'>,
  adapter: LoadedAdapter | undefined,
): CutPrompt => ({
  prompt: instruction,
  adapter,
  promptRows: adapter?.rows ?? 0,
  tail: adapter?.tail === undefined ? undefined : (tail ?? adapter.tail),
  turn: adapter?.placement === 'turn' ? turn : 0,
})

/** A prompt's runs, cut as the engine cuts them, and which of them makes the prompt rows. */
function* runsOf(
  prompt: CutPrompt,
  chunkTokens: number,
): Generator<{ start: number; end: number; hasRows: boolean }> {
  const room = { rows: Number.POSITIVE_INFINITY, tokens: chunkTokens }
  for (let start = 0; start < prompt.prompt.length; ) {
    const end = endOfRun(prompt, { done: start, room })
    yield { start, end, hasRows: makesRows(prompt, { start, end }) }
    start = end
  }
}
