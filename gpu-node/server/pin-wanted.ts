import type { Backend } from '../../model/runtime/backend.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { AdapterDigest } from '../../shared/ids.ts'
import { adaptersOf, type GenerateRequest } from '../../shared/wire.ts'
import type { PinnedAdapter } from '../engine/sequence.ts'

interface Shelf {
  /** Throws `adapter_missing`. */
  readonly pin: (digest: AdapterDigest) => PinnedAdapter
  readonly stack: Backend['stack']
}

/**
 * Pins the adapters of a request: they stay resident until released. Returns null for the untuned backbone. Throws
 * `adapter_missing`, or `invalid_request` for adapters that cannot be stacked; then nothing stays pinned.
 */
export function pinWanted(
  wanted: Pick<GenerateRequest, 'adapter' | 'behind' | 'promptLogprobs'>,
  { pin, stack }: Shelf,
): PinnedAdapter | null {
  const parts: PinnedAdapter[] = []
  const release = () => {
    for (const part of parts) part.release()
  }
  if (wanted.adapter === null && wanted.behind !== undefined)
    throw new QuartetError('invalid_request', 'behind: nothing stands in front of these; name an adapter', {
      param: 'behind',
    })
  if (wanted.behind !== undefined && wanted.promptLogprobs !== undefined)
    throw new QuartetError(
      'invalid_request',
      'log-probabilities of a prompt are not told where adapters are stacked; ask for one of them',
      { param: 'promptLogprobs' },
    )
  try {
    for (const digest of adaptersOf(wanted)) parts.push(pin(digest))
    const [first] = parts
    if (first === undefined) return null
    return parts.length === 1 ? first : { loaded: stack(parts.map(({ loaded }) => loaded)), release }
  } catch (refusal) {
    release()
    throw refusal
  }
}
