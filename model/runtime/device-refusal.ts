import { QuartetError } from '../../shared/errors.ts'
import type { CacheMemory } from './cache-budget.ts'
import { firstLine } from './session.ts'

/** The memory that a cache needs of a device, in rows of all layers. */
interface Needed extends CacheMemory {
  readonly rowBytes: number
  readonly prefixes: number
}

/** Why a cache could not be opened on a device, and which setting helps. */
export function refusal(cause: unknown, { prefixes, rowBytes, running, stack }: Needed): QuartetError {
  // It names its own remedy.
  if (cause instanceof QuartetError && cause.code === 'node_unavailable') return cause
  if (cause instanceof Error && withoutHalves.test(cause.message))
    return new QuartetError(
      'node_unavailable',
      'the device does not compute with 16-bit floats: use --cache-type f32',
      { cause },
    )
  const mib = (rows: number) => Math.ceil((rows * rowBytes) / 2 ** 20)
  return new QuartetError(
    'node_unavailable',
    `the device has no room for the KV cache (${firstLine(cause)}): it needs ${mib(running)} MiB for running requests and ${mib(stack)} MiB for stacked adapters (lower --cache-bytes or --cache-rows), and ${mib(prefixes)} MiB for kept prefixes (lower --prefix-bytes)`,
    { cause },
  )
}

/** What ONNX Runtime says of a shader for which a device lacks 16-bit floats. */
const withoutHalves = /f16 but the device does not support it/
