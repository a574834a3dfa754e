import { QuartetError } from '../../shared/errors.ts'

/** The memory that a cache needs of a device, in rows of all layers. */
interface Needed {
  readonly rowBytes: number
  /** For running requests. */
  readonly runningRows: number
  readonly keptRows: number
}

/** Why a cache could not be opened on a device, and which setting helps. */
export function refusal(cause: unknown, { keptRows, rowBytes, runningRows }: Needed): QuartetError {
  if (cause instanceof Error && withoutHalves.test(cause.message))
    return new QuartetError(
      'node_unavailable',
      'the device does not compute with 16-bit floats: use --cache-type f32',
      { cause },
    )
  const mib = (rows: number) => Math.ceil((rows * rowBytes) / 2 ** 20)
  return new QuartetError(
    'node_unavailable',
    `the device has no room for the KV cache: it needs ${mib(runningRows)} MiB for running requests (lower --cache-bytes or --cache-rows) and ${mib(keptRows)} MiB for kept prefixes (lower --prefix-bytes)`,
    { cause },
  )
}

/** What ONNX Runtime says of a shader for which a device lacks 16-bit floats. */
const withoutHalves = /f16 but the device does not support it/
