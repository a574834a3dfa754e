import { expect, test } from 'vitest'
import { copyRowsGraph } from '../graph/copy-rows.ts'
import { encodeModel } from '../graph/encode.ts'
import { memoryOnDevice } from './memory-on-device.ts'
import { SplitMemoryError } from './ort/native-session.ts'
import { InferenceSession } from './session.ts'

test('a graph that has its rows in host memory is refused for a device that is not the host', async () => {
  const graph = copyRowsGraph({ layers: 1, type: 'float16', width: 8 })
  const session = await InferenceSession.fromModel(encodeModel(graph, { weightsFile: '', opset: 18 }), {
    device: 'cpu',
  })
  const rows = ['from_key.0', 'to_key.0']
  const memoryOn = (device: 'cpu' | 'cuda') =>
    memoryOnDevice(session, rows, { device, work: 'copies of rows' })
  expect(memoryOn('cpu').isHost).toBe(true)
  const refusal = expect.objectContaining({
    code: 'node_unavailable',
    message: 'ONNX Runtime runs copies of rows on the CPU, not on cuda: use --device cpu',
  })
  expect(() => memoryOn('cuda')).toThrow(refusal)
  const split = {
    memoryOf: () => {
      throw new SplitMemoryError()
    },
  }
  expect(() => memoryOnDevice(split, rows, { device: 'cuda', work: 'copies of rows' })).toThrow(refusal)
  // Another failure is told as it is.
  await session.release()
  expect(() => memoryOn('cuda')).toThrow('the session was freed')
})
