import type { CacheSlot, LoadedAdapter } from '../../model/runtime/backend.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { range } from '../../model/runtime/row-places.ts'

interface Request {
  readonly tokens: readonly number[]
  readonly adapter?: LoadedAdapter | undefined
  /** Tokens in front of the newest turn; 0 by default. */
  readonly turn?: number
}

/** A slot with so many rows. */
export function allocated(backend: OnnxBackend, rows: number): CacheSlot {
  const slot = backend.allocate(rows)
  if (slot === undefined) throw new Error('no room')
  return slot
}

/** Logits of every token of a prompt, [tokens, vocab]. */
export async function scoreAll(
  backend: OnnxBackend,
  { tokens, adapter, turn = 0 }: Request,
): Promise<Float32Array> {
  const slot = backend.allocate(tokens.length + (adapter?.rows ?? 0))
  if (slot === undefined) throw new Error('no room')
  const score = async (chunk: readonly number[], tuned: { adapter?: LoadedAdapter }) =>
    Float32Array.from(await backend.score({ slot, tokens: chunk, ...tuned }, range(0, chunk.length)))
  try {
    const front = turn === 0 ? [] : await score(tokens.slice(0, turn), {})
    return Float32Array.from([...front, ...(await score(tokens.slice(turn), adapter ? { adapter } : {}))])
  } finally {
    slot.release()
  }
}

/** The likeliest next token, `count` times. */
export async function generateGreedily(
  backend: OnnxBackend,
  {
    prompt,
    adapter,
    count,
  }: { prompt: readonly number[]; adapter?: LoadedAdapter | undefined; count: number },
): Promise<number[]> {
  const slot = backend.allocate(prompt.length + count + (adapter?.rows ?? 0))
  if (slot === undefined) throw new Error('no room')
  try {
    const ids = [likeliest(await backend.prefill({ slot, tokens: prompt, ...(adapter && { adapter }) }))]
    for (let token = ids[0]; token !== undefined && ids.length < count; token = ids.at(-1))
      ids.push(likeliest(await backend.decode([{ slot, token }])))
    return ids
  } finally {
    slot.release()
  }
}

export function likeliest(logits: Float32Array): number {
  let best = 0
  for (const [id, logit] of logits.entries()) if (logit > (logits[best] ?? 0)) best = id
  return best
}

/** No adapter, and one of each kind, way of pooling, placement, anchor and activation. */
export const adapterVariants = [
  undefined,
  { kind: 'static', anchor: 'sink' },
  { kind: 'iapt', anchor: 'sink', activation: 'rational', placement: 'first', window: 16 },
  { kind: 'iapt', anchor: 'own', activation: 'gelu', placement: 'after-first', window: 7 },
  { kind: 'iapt', anchor: 'none', activation: 'relu', placement: 'first', window: 5 },
  { kind: 'idpg', anchor: 'sink', pool: 'mean', window: 9 },
  { kind: 'idpg', anchor: 'own', pool: 'max', generator: 'shared', activation: 'gelu', window: 16 },
  { kind: 'idpg', anchor: 'sink', pool: 'max', at: 0, placement: 'after-first', window: 3 },
  { kind: 'lpt', anchor: 'none', pool: 'attention', at: 1, window: 12 },
  { kind: 'lpt', anchor: 'own', pool: 'mean', at: 2, placement: 'after-first', l_sp: 7, window: 6 },
  { kind: 'ipt', anchor: 'sink', activation: 'relu', window: 6 },
  { kind: 'iapt', anchor: 'own', activation: 'gelu', placement: 'late', tail: 4, window: 7 },
  { kind: 'idpg', anchor: 'own', generator: 'shared', placement: 'late', tail: 1, window: 9 },
  { kind: 'static', anchor: 'none', placement: 'late', tail: 3, l_sp: 6 },
  { kind: 'iapt', anchor: 'own', activation: 'gelu', placement: 'turn', window: 7 },
] as const

/** Greedy continuations of several prompts that decode in one batch: the ids of each, and its last logits. */
export async function decodeTogether(
  backend: OnnxBackend,
  { prompts, steps }: { prompts: readonly Request[]; steps: number },
): Promise<{ ids: number[]; logits: number[] }[]> {
  const running: { slot: CacheSlot; ids: number[]; logits: number[] }[] = []
  for (const { tokens, adapter } of prompts) {
    const slot = backend.allocate(tokens.length + steps + (adapter?.rows ?? 0))
    if (slot === undefined) throw new Error('no room')
    const logits = await backend.prefill({ slot, tokens, ...(adapter && { adapter }) })
    running.push({ slot, ids: [likeliest(logits)], logits: [...logits] })
  }
  const { vocab } = backend.limits
  for (let step = 0; step < steps; step++) {
    const batch = running.map(({ slot, ids }) => ({ slot, token: ids.at(-1) ?? 0 }))
    const logits = await backend.decode(batch)
    for (const [row, sequence] of running.entries()) {
      const own = logits.subarray(row * vocab, (row + 1) * vocab)
      sequence.ids.push(likeliest(own))
      sequence.logits = [...own]
    }
  }
  for (const { slot } of running) slot.release()
  return running.map(({ ids, logits }) => ({ ids, logits }))
}
