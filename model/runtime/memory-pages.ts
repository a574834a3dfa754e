import type { KoffiFunc } from 'koffi'
import { koffi } from './ort/foreign-functions.ts'

/** Ranges begin and end at multiples of this: the largest page of the systems below. */
const pageBytes = 65_536n

/**
 * How a system is told of memory whose content nobody needs, of memory that is filled here and there, and of what the C library
 * keeps of freed memory.
 */
interface System {
  /** null is the process itself, which has its C library loaded. */
  readonly library: string | null
  readonly discard: Call
  readonly fillSparsely?: Call
  /** Takes the bytes to keep. */
  readonly trim?: string
}

interface Call {
  readonly name: string
  readonly advice: readonly number[]
}

const systems: Readonly<Partial<Record<NodeJS.Platform, System>>> = {
  linux: {
    library: null,
    // MADV_DONTNEED
    discard: { name: 'madvise', advice: [4] },
    // MADV_NOHUGEPAGE: else a first write may commit 2 MiB around it.
    fillSparsely: { name: 'madvise', advice: [15] },
    trim: 'malloc_trim',
  },
  // MADV_FREE
  darwin: { library: null, discard: { name: 'madvise', advice: [5] } },
  win32: { library: 'kernel32.dll', discard: { name: 'DiscardVirtualMemory', advice: [] } },
}

type Advise = (address: bigint, bytes: bigint, ...advice: readonly number[]) => unknown

const system = systems[process.platform]
const library = system && koffi.load(system.library)

/** Frees the memory of a range, whose content is undefined from then on; the range itself stays usable. */
export const discard = advising(system?.discard)

/** Says before it is first written that a buffer is filled here and there, and should take memory for no more. */
export const fillSparsely = advising(system?.fillSparsely)

const trim = trimming(system?.trim)

/** Gives back to the system what was freed and what the C library keeps for the next to come: much, where pieces were large. */
export function returnFreed(): Promise<void> {
  return new Promise((resolve) => (trim === undefined ? resolve() : trim.async(0, () => resolve())))
}

function trimming(name: string | undefined): KoffiFunc<(keep: number) => number> | undefined {
  if (library === undefined || name === undefined) return undefined
  try {
    return library.func(name, 'int', ['size_t'])
  } catch {
    // Not in every C library: musl has none, and keeps little.
    return undefined
  }
}

/** Advice: where a system does not take it, nothing happens. */
function advising(call: Call | undefined): (range: Uint8Array) => void {
  if (library === undefined || call === undefined) return () => {}
  const advise: KoffiFunc<Advise> = library.func(call.name, 'int', [
    'uintptr_t',
    'size_t',
    ...call.advice.map(() => 'int'),
  ])
  return (range) => {
    const start = koffi.address(range)
    const from = ((start + pageBytes - 1n) / pageBytes) * pageBytes
    const bytes = ((start + BigInt(range.byteLength)) / pageBytes) * pageBytes - from
    if (bytes > 0n) advise(from, bytes, ...call.advice)
  }
}
