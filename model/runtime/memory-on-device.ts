import { QuartetError } from '../../shared/errors.ts'
import type { DeviceMemory } from './ort/device-memory.ts'
import { SplitMemoryError } from './ort/native-session.ts'
import type { Device, InferenceSession } from './session.ts'

/** Whether an input of a graph is keys or values of its cache. */
export const isCache = (input: string): boolean => /^past_(key|value)\./.test(input)

/**
 * The memory in which a session has these inputs. Throws `node_unavailable` where one of them lies on the host though the
 * device is another: each run would copy it there and back, within ONNX Runtime, where nothing counts the bytes.
 */
export function memoryOnDevice(
  session: Pick<InferenceSession, 'memoryOf'>,
  inputs: readonly string[],
  { device, work }: { readonly device: Device; readonly work: string },
): DeviceMemory {
  const refused = (cause?: unknown) =>
    new QuartetError(
      'node_unavailable',
      `ONNX Runtime runs ${work} on the CPU, not on ${device}: use --device cpu`,
      { cause },
    )
  let memory: DeviceMemory
  try {
    memory = session.memoryOf(inputs)
  } catch (cause) {
    throw cause instanceof SplitMemoryError ? refused(cause) : cause
  }
  if (memory.isHost && device !== 'cpu') throw refused()
  return memory
}
