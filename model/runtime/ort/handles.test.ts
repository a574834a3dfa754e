import { expect, test } from 'vitest'
import { HandleLedger } from '../../../test/fakes/handle-ledger.ts'
import { GraphBuilder } from '../../graph/builder.ts'
import { encodeModel } from '../../graph/encode.ts'
import { float32 } from '../tensors.ts'
import { NativeSession } from './native-session.ts'
import { Ort } from './ort.ts'

/** y = x · w, [n, 3] · [3, 2]. */
function product(): Uint8Array {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', ['n', 3])
  const w = g.input('w', 'float32', [3, 2])
  g.output('y', g.apply('MatMul', [x, w]))
  return encodeModel(g.build('product'), { weightsFile: '', opset: 18, sizes: ['n'] })
}

/** All that a session is asked for. */
async function useSession(ort: Ort): Promise<void> {
  const x = float32(new Float32Array(6), [2, 3])
  const w = float32(new Float32Array(6), [3, 2])
  await using used = new AsyncDisposableStack()
  const session = await NativeSession.open(ort, product(), { memoryPattern: false, threads: 1 })
  used.adopt(session, (last) => last.release())
  const memory = session.memoryOf(['x', 'w'])
  const tensor = used.use(memory.allocate({ type: 'float32', dims: [4, 3] }))
  const view = used.use(tensor.as([2, 3]))
  session.bind({ feeds: { x: view }, outputs: {} })
  const bound = session.bind({ feeds: { w }, outputs: { y: float32(new Float32Array(4), [2, 2]) } })
  await session.run({ x, w }, ['y'], new AbortController().signal)
  await session.runInto({ x: view }, {}, { beside: [bound], capture: 1 })
  await session.runInto({ x, w: float32(new Float32Array(8), [4, 2]) }, {}).catch(() => {})
}

test('whichever call of ONNX Runtime fails, what a session has made is freed, once', async () => {
  const ort = Ort.load()
  using ledger = new HandleLedger()
  await useSession(ort)
  expect(ledger.open).toEqual([])
  const calls = [...ledger.calls]
  expect(new Set(calls).size).toBeGreaterThan(14)
  for (const [place, name] of calls.entries()) {
    ledger.fail(place)
    await useSession(ort).catch((error) => expect(error.message).toBe(`${name} failed`))
    expect(ledger.open, `${name}, call ${place}`).toEqual([])
  }
})
