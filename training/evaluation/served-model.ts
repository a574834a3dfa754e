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
  { instruction, room, turn = 0 }: Pick<Example, 'instruction' | 'turn'> & { readonly room: number },
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
    for (const { start, end, hasRows } of runsOf(instruction, { adapter, chunkTokens, turn })) {
      const chunk = instruction.slice(start, end)
      const tuned = hasRows && adapter !== undefined ? { adapter } : {}
      next = await backend.score({ slot, tokens: chunk, ...tuned }, [chunk.length - 1])
    }
    return new OpenSequence({ slot, backend, next: next.slice(0, vocab) })
  } catch (error) {
    slot.release()
    throw error
  }
}

/** A prompt's runs, cut as the engine cuts them, and which of them makes the prompt rows. */
function* runsOf(
  instruction: readonly number[],
  { adapter, chunkTokens, turn }: { adapter: LoadedAdapter | undefined; chunkTokens: number; turn: number },
): Generator<{ start: number; end: number; hasRows: boolean }> {
  const prompt: CutPrompt = {
    prompt: instruction,
    adapter,
    promptRows: adapter?.rows ?? 0,
    tail: adapter?.tail,
    turn: adapter?.placement === 'turn' ? turn : 0,
  }
  const room = { rows: Number.POSITIVE_INFINITY, tokens: chunkTokens }
  for (let start = 0; start < instruction.length; ) {
    const end = endOfRun(prompt, { done: start, room })
    yield { start, end, hasRows: makesRows(prompt, { start, end }) }
    start = end
  }
}
