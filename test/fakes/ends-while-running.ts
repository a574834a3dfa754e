import { GraphBuilder } from '../../model/graph/builder.ts'
import { encodeModel } from '../../model/graph/encode.ts'
import { NativeSession } from '../../model/runtime/ort/native-session.ts'
import { Ort } from '../../model/runtime/ort/ort.ts'
import { float32 } from '../../model/runtime/tensors.ts'

/** A process that ends in one of these ways while native code computes. usage: ends-while-running.ts HOW */
const size = 512
const g = new GraphBuilder()
let value = g.input('x', 'float32', [size, size])
for (let i = 0; i < 100; i++) value = g.apply('MatMul', [value, value])
g.output('y', value)
const model = encodeModel(g.build('slow'), { weightsFile: '', opset: 18, sizes: [] })
const session = await NativeSession.open(Ort.load(), model, { memoryPattern: true })
const square = () => float32(new Float32Array(size * size), [size, size])
const run = () => session.run({ x: square() }, ['y'])

/** Runs with tensors that nothing else refers to, and that are released before the run has ended. */
async function runBound(): Promise<void> {
  const bound = session.bind({ feeds: { x: square() }, outputs: { y: square() } })
  const running = session.runInto({}, {}, { beside: [bound] })
  bound[Symbol.dispose]()
  await running
}

const how = process.argv[2]
const running = how === 'bound' ? runBound() : run()
process.stdout.write('running\n')
switch (how) {
  case 'exit':
    setTimeout(() => process.exit(3), 20)
    break
  case 'throw':
    setTimeout(() => {
      throw new Error('wanted')
    }, 20)
    break
  case 'release':
    await session.release()
    break
  case 'garbage':
  case 'bound':
    // The feeds of the run are referred to by nothing but the call.
    for (let i = 0; i < 10; i++) {
      globalThis.gc?.()
      await new Promise((resolve) => setImmediate(resolve))
    }
    break
}
await running
await session.release()
