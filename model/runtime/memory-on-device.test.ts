import { expect, onTestFinished, test } from 'vitest'
import { copyRowsGraph } from '../graph/copy-rows.ts'
import { encodeModel } from '../graph/encode.ts'
import { memoryOnDevice } from './memory-on-device.ts'
import { InferenceSession } from './session.ts'

test('a graph that has its rows in host memory is refused for a device that is not the host', async () => {
  const graph = copyRowsGraph({ layers: 1, type: 'float16', width: 8 })
  const session = await InferenceSession.fromModel(encodeModel(graph, { weightsFile: '', opset: 18 }), {
    device: 'cpu',
  })
  onTestFinished(() => session.release())
  const rows = ['from_key.0', 'to_key.0']
  const memoryOn = (device: 'cpu' | 'cuda', inputs = rows) =>
    memoryOnDevice(session, inputs, { device, work: 'copies of rows' })
  expect(memoryOn('cpu').isHost).toBe(true)
  const refusal = expect.objectContaining({
    code: 'node_unavailable',
    message: 'ONNX Runtime runs copies of rows on the CPU, not on cuda: use --device cpu',
  })
  expect(() => memoryOn('cuda')).toThrow(refusal)
})
