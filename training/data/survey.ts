import { createHash } from 'node:crypto'
import type { AdapterMetadata } from '../../shared/adapter-file.ts'
import type { Example } from './example.ts'

/** The facts about a file of examples that are known before training. */
export interface Survey {
  readonly examples: number
  readonly promptTokens: Percentiles
  readonly responseTokens: Percentiles
  /** Examples whose prompt, newest turn, or prompt in front of late rows is longer than what a generator reads of it. */
  readonly beyondWindow: number
  /** Examples that repeat an earlier one. */
  readonly duplicates: number
  /** Prompts that come with different responses. */
  readonly ambiguousPrompts: number
  readonly distinctResponses: number
}

export interface Percentiles {
  readonly least: number
  readonly median: number
  readonly p90: number
  readonly p99: number
  readonly most: number
}

export function survey(
  examples: readonly Example[],
  {
    placement,
    tail: usualTail = 0,
    window,
  }: { window: number; placement?: AdapterMetadata['placement']; tail?: number | undefined },
): Survey {
  const unread = ({ tail = usualTail, turn = 0 }: Example) =>
    placement === 'turn' ? turn : placement === 'late' ? tail : 0
  const responses = new Map<string, Set<string>>()
  let duplicates = 0
  for (const { instruction, response } of examples) {
    const key = idsKey(instruction)
    const known = responses.get(key) ?? new Set()
    const answer = idsKey(response)
    if (known.has(answer)) duplicates++
    responses.set(key, known.add(answer))
  }
  return {
    examples: examples.length,
    promptTokens: percentiles(examples.map(({ instruction }) => instruction.length)),
    responseTokens: percentiles(examples.map(({ response }) => response.length)),
    beyondWindow: examples.filter((example) => example.instruction.length - unread(example) > window).length,
    duplicates,
    ambiguousPrompts: [...responses.values()].filter(({ size }) => size > 1).length,
    distinctResponses: new Set(examples.map(({ response }) => idsKey(response))).size,
  }
}

/** Dev examples whose prompt is among those of the training examples. */
export function overlap({ train, dev }: Readonly<Record<'train' | 'dev', readonly Example[]>>): number {
  return dev.length - withOtherPrompts({ train, dev }).length
}

/** Dev examples whose prompt is not among those of the training examples. */
export function withOtherPrompts<E extends Example>({
  dev,
  train,
}: {
  readonly train: readonly Example[]
  readonly dev: readonly E[]
}): readonly E[] {
  const known = new Set(train.map(({ instruction }) => idsKey(instruction)))
  return dev.filter(({ instruction }) => !known.has(idsKey(instruction)))
}

/** Names a sequence of token ids. */
export function idsKey(ids: readonly number[]): string {
  return createHash('sha256').update(Uint32Array.from(ids)).digest('base64')
}

/** Nearest-rank percentiles; zeros of no values. */
function percentiles(values: readonly number[]): Percentiles {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0
  return { least: at(0), median: at(0.5), p90: at(0.9), p99: at(0.99), most: at(1) }
}
