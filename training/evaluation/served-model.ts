import type { CacheSlot, LoadedAdapter } from '../../model/runtime/backend.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { QuartetError } from '../../shared/errors.ts'

/** What answers: the backend as a node runs it, with an adapter or as the untuned backbone. */
export interface ServedModel {
  readonly backend: Pick<OnnxBackend, 'allocate' | 'limits' | 'score'>
  readonly adapter: LoadedAdapter | undefined
}

/** A prompt that has been read, with logits of what comes next. */
export interface OpenSequence extends Disposable {
  /** Logits of the token after the prompt, [vocab]. */
  readonly next: Float32Array
  /** Reads on, and gives the logits after each of these tokens. Valid until the next call. */
  score(tokens: readonly number[]): Promise<readonly Float32Array[]>
  /** Goes back to where the prompt ends. */
  rewind(): void
}

/**
 * Reads a prompt in chunks as the engine does, so that the prompt rows depend on the prompt alone.
 * `room`: how many tokens may follow. Throws `context_length_exceeded`.
 */
export async function openSequence(
  { backend, adapter }: ServedModel,
  { instruction, room }: { instruction: readonly number[]; room: number },
): Promise<OpenSequence> {
  const { contextLength, chunkTokens, vocab } = backend.limits
  const tokens = instruction.length + room
  const slot = backend.allocate(tokens + (adapter?.rows ?? 0))
  if (slot === undefined || tokens > contextLength) {
    slot?.release()
    throw new QuartetError(
      'context_length_exceeded',
      `an example has ${tokens} tokens; this model has room for ${contextLength}`,
    )
  }
  try {
    let next: Float32Array = new Float32Array(0)
    for (let start = 0; start < instruction.length; start += chunkTokens) {
      const chunk = instruction.slice(start, start + chunkTokens)
      const first = start === 0 && adapter !== undefined ? { adapter } : {}
      next = await backend.score({ slot, tokens: chunk, ...first }, [chunk.length - 1])
    }
    return sequenceOf({ slot, backend, next: next.slice(0, vocab) })
  } catch (error) {
    slot.release()
    throw error
  }
}

function sequenceOf({
  slot,
  backend,
  next,
}: { slot: CacheSlot; next: Float32Array } & Pick<ServedModel, 'backend'>): OpenSequence {
  const { vocab } = backend.limits
  let read = 0
  return {
    next,
    async score(tokens) {
      const positions = tokens.map((_, position) => position)
      const logits = await backend.score({ slot, tokens }, positions)
      read += tokens.length
      return positions.map((position) => logits.subarray(position * vocab, (position + 1) * vocab))
    },
    rewind() {
      slot.rewind(read)
      read = 0
    },
    [Symbol.dispose]: () => slot.release(),
  }
}
