import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest'
import { GraphBuilder } from '../../graph/builder.ts'
import { encodeModel } from '../../graph/encode.ts'
import { float16, float32, floats, int64 } from '../tensors.ts'
import { OrtApi } from './api.ts'
import { apiTable, statusFunctions } from './api-table.ts'
import type { FeedsAndOutputs } from './bound-tensors.ts'
import type { RunTensors } from './device-memory.ts'
import { packagedLibrary, pinnedRelease } from './library.ts'
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

/** x, multiplied with itself so many times, one after the other; x is [512, 512]. */
function products(count: number): Uint8Array {
  const g = new GraphBuilder()
  let value = g.input('x', 'float32', [512, 512])
  for (let i = 0; i < count; i++) value = g.apply('MatMul', [value, value])
  g.output('y', value)
  return encodeModel(g.build('products'), { weightsFile: '', opset: 18, sizes: [] })
}

const w = float32(Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2])
const x = (rows: number) => float32(new Float32Array(rows * 3).fill(1), [rows, 3])

test('every function is at the place that the header of the pinned release gives it', async () => {
  const fixture = join(import.meta.dirname, '../../../test/fixtures/onnxruntime/ort-api-30.txt')
  const names = (await readFile(fixture, 'utf8')).trim().split('\n')
  for (const [name, { offset }] of Object.entries(apiTable)) expect(names[offset], name).toBe(name)
  for (const [name, offset] of Object.entries(statusFunctions)) expect(names[offset], name).toBe(name)
  expect(new Set(names).size).toBe(426)
})

test('a library of another release, and a file that is no library, are refused by name with a remedy', () => {
  const load = (path: string, release: string) => () => OrtApi.load(path, release)
  expect(load(packagedLibrary(), '1.29.0')).toThrow(
    expect.objectContaining({
      code: 'node_unavailable',
      message: expect.stringMatching(/1\.30\.0.*needs 1\.29\.0.*npm ci/),
    }),
  )
  expect(load(join(import.meta.dirname, 'api.ts'), pinnedRelease())).toThrow(
    expect.objectContaining({
      code: 'node_unavailable',
      message: expect.stringContaining('cannot load ONNX Runtime'),
    }),
  )
})

describe('a session', () => {
  let session: NativeSession
  beforeAll(async () => {
    session = await NativeSession.open(Ort.load(), product(), { memoryPattern: true, threads: 1 })
  })
  afterAll(() => session.release())

  it('gives the outputs it is asked for, in their own shapes', async () => {
    const { y } = await session.run({ x: x(4), w }, ['y'])
    expect(y?.dims).toEqual([4, 2])
    expect([...floats(y)]).toEqual([9, 12, 9, 12, 9, 12, 9, 12])
  })

  it('writes an output where it is told to, and copies nothing', async () => {
    const y = float32(new Float32Array(2), [1, 2])
    await session.runInto({ x: x(1), w }, { y })
    expect([...y.data]).toEqual([9, 12])
  })

  it('takes no rows and gives none', async () => {
    const { y } = await session.run({ x: x(0), w }, ['y'])
    expect(y?.dims).toEqual([0, 2])
  })

  it('refuses what does not fit, and works on', async () => {
    const run = (feeds: Parameters<NativeSession['run']>[0], outputs = ['y']) => session.run(feeds, outputs)
    await expect(run({ x: x(1) })).rejects.toThrow(/w/)
    await expect(run({ x: float32(new Float32Array(8), [2, 4]), w })).rejects.toThrow(/dimension|shape/i)
    await expect(run({ x: float32(new Float32Array(5), [2, 3]), w })).rejects.toThrow(/not enough space/)
    await expect(run({ x: float32(new Float32Array(6), [-2, 3]), w })).rejects.toThrow(/negative/)
    await expect(run({ x: int64([1, 2, 3], [1, 3]), w })).rejects.toThrow(/type/)
    await expect(run({ x: float16(new Uint16Array(3), [1, 3]), w })).rejects.toThrow(/type/)
    await expect(run({ x: x(1), w, z: w })).rejects.toThrow('no input or output z')
    await expect(run({ x: x(1), w }, ['z'])).rejects.toThrow('no input or output z')
    const small = float32(new Float32Array(2), [1, 2])
    await expect(session.runInto({ x: x(3), w }, { y: small })).rejects.toThrow(/shape/i)
    const gone = x(1)
    structuredClone(gone.data.buffer, { transfer: [gone.data.buffer] })
    await expect(run({ x: gone, w })).rejects.toThrow('given away')
    expect((await session.run({ x: x(1), w }, ['y'])).y?.dims).toEqual([1, 2])
  })

  it('a run that its signal ends throws the reason of that, and the next run is as any', async () => {
    const slow = await NativeSession.open(Ort.load(), products(20), { memoryPattern: true, threads: 1 })
    const feeds = { x: float32(new Float32Array(512 * 512), [512, 512]) }
    const end = new AbortController()
    const run = slow.run(feeds, ['y'], end.signal)
    await new Promise((resolve) => setImmediate(resolve))
    end.abort(new Error('a request came'))
    await expect(run).rejects.toThrow('a request came')
    await expect(slow.run(feeds, ['y'], end.signal)).rejects.toThrow('a request came')
    expect((await slow.run(feeds, ['y'], new AbortController().signal)).y?.dims).toEqual([512, 512])
    await slow.release()
  })

  it('refuses bytes that are no graph', async () => {
    const open = (model: string | Uint8Array) =>
      NativeSession.open(Ort.load(), model, { memoryPattern: true })
    await expect(open(Uint8Array.of(1, 2, 3))).rejects.toThrow()
    await expect(open(new Uint8Array(0))).rejects.toThrow()
    await expect(open('/nowhere/graph.onnx')).rejects.toThrow(/nowhere/)
  })
})

test('a device’s memory is refused where it does not fit, and once it or its session was freed', async () => {
  const open = () => NativeSession.open(Ort.load(), product(), { memoryPattern: true })
  const session = await open()
  const memory = session.memoryOf(['x', 'w'])
  // The CPU's own memory, which this allocator gives as a device's.
  expect(memory.isHost).toBe(true)
  const [x1, y1] = [
    memory.allocate({ type: 'float32', dims: [4, 3] }),
    memory.allocate({ type: 'float32', dims: [4, 2] }),
  ]
  expect(() => x1.as([5, 3])).toThrow('60 bytes does not fit memory of 48')
  const before = session.hostBytes
  await session.runInto({ x: x1, w }, { y: y1 })
  // w alone is this process's.
  expect(session.hostBytes - before).toBe(24)
  await expect(session.runInto({ x: y1, w }, { y: y1 })).rejects.toThrow(/dimension|shape/i)
  await expect(session.runInto({ x: x1.as([2, 3]), w }, { y: y1 })).rejects.toThrow(/shape/i)
  const view = x1.as([1, 3])
  view[Symbol.dispose]()
  await expect(session.runInto({ x: view, w }, { y: y1 })).rejects.toThrow('after it was freed')
  memory.release()
  memory.release()
  await expect(session.runInto({ x: x1, w }, { y: y1 })).rejects.toThrow('after it was given back')
  expect(() => x1.as([1, 3])).toThrow('after it was given back')
  expect(() => memory.allocate({ type: 'float32', dims: [1] })).toThrow('given back')
  const other = session.memoryOf(['x'])
  const last = other.allocate({ type: 'float32', dims: [1, 3] })
  await session.release()
  expect(() => last.as([3])).toThrow('after it was given back')
  expect(() => session.memoryOf(['x'])).toThrow('freed')
  other.release()
})

describe('bound tensors', () => {
  it('are read and written by many runs, in place, beside others', async () => {
    const session = await NativeSession.open(Ort.load(), product(), { memoryPattern: true, threads: 1 })
    const y = float32(new Float32Array(2), [1, 2])
    const bound = session.bind({ feeds: { w }, outputs: { y } })
    const before = session.hostBytes
    for (const value of [1, 2, 3]) {
      const row = float32(new Float32Array(3).fill(value), [1, 3])
      await session.runInto({ x: row }, {}, { beside: [bound] })
      expect([...y.data]).toEqual([9 * value, 12 * value])
    }
    expect(session.hostBytes - before).toBe(3 * (12 + 24 + 8))
    await session.release()
  })

  it('serve the next run when one failed', async () => {
    const session = await NativeSession.open(Ort.load(), product(), { memoryPattern: true, threads: 1 })
    const y = float32(new Float32Array(2), [1, 2])
    const bound = session.bind({ feeds: { w }, outputs: { y } })
    const run = (feeds: RunTensors) => session.runInto(feeds, {}, { beside: [bound] })
    await expect(run({ x: x(3) })).rejects.toThrow(/shape/i)
    await expect(run({ x: float32(new Float32Array(2), [1, 2]) })).rejects.toThrow(/dimension|shape/i)
    await expect(run({ x: x(1), z: w })).rejects.toThrow('no input or output z')
    await expect(run({})).rejects.toThrow(/x/)
    await run({ x: x(1) })
    expect([...y.data]).toEqual([9, 12])
    await session.release()
  })

  it('are refused once their memory or they themselves are gone, and by other sessions', async () => {
    const open = () => NativeSession.open(Ort.load(), product(), { memoryPattern: true, threads: 1 })
    const [session, other] = [await open(), await open()]
    const run = (bound: FeedsAndOutputs, on = session) =>
      on.runInto(
        { x: x(1) },
        {},
        { beside: [bound, { feeds: {}, outputs: { y: float32(new Float32Array(2), [1, 2]) } }] },
      )
    const bind = (tensor: RunTensors[string]) => session.bind({ feeds: { w: tensor }, outputs: {} })
    const given = float32(new Float32Array(6), [3, 2])
    const away = bind(given)
    await run(away)
    structuredClone(given.data.buffer, { transfer: [given.data.buffer] })
    await expect(run(away)).rejects.toThrow('given away')
    expect(() => bind(given)).toThrow('given away')
    expect(() => bind(float32(new Float32Array(5), [3, 2]))).toThrow(/not enough space/)
    expect(() => session.bind({ feeds: { z: w }, outputs: {} })).toThrow('no input or output z')
    const memory = session.memoryOf(['w'])
    const onDevice = memory.allocate({ type: 'float32', dims: [4, 2] })
    const view = onDevice.as([3, 2])
    const [ofView, ofMemory] = [bind(view), bind(onDevice.as([3, 2]))]
    for (const bound of [ofView, ofMemory]) await run(bound)
    view[Symbol.dispose]()
    await expect(run(ofView)).rejects.toThrow('after it was freed')
    memory.release()
    await expect(run(ofMemory)).rejects.toThrow('given back')
    const bound = bind(w)
    await expect(run(bound, other)).rejects.toThrow('another session')
    bound[Symbol.dispose]()
    bound[Symbol.dispose]()
    await expect(run(bound)).rejects.toThrow('released')
    const last = bind(w)
    await session.release()
    await expect(run(last)).rejects.toThrow('freed')
    await expect(run(last, other)).rejects.toThrow('another session')
    expect(() => bind(w)).toThrow('freed')
    last[Symbol.dispose]()
    await other.release()
  })

  it('are those of a session beside it too, whose graph has the same inputs and outputs', async () => {
    const session = await NativeSession.open(Ort.load(), product(), { memoryPattern: true, threads: 1 })
    const beside = (model: Uint8Array) =>
      NativeSession.open(Ort.load(), model, { memoryPattern: true, threads: 1, boundWith: session })
    const other = await beside(product())
    const y = float32(new Float32Array(2), [1, 2])
    const bound = session.bind({ feeds: { w }, outputs: { y } })
    const run = (on: NativeSession) => on.runInto({ x: x(1) }, {}, { beside: [bound] })
    await run(other)
    expect([...y.data]).toEqual([9, 12])
    await expect(beside(products(1))).rejects.toThrow('differ in their inputs or outputs')
    await session.release()
    await expect(run(other)).rejects.toThrow('released')
    await other.release()
  })

  it('that are released during a run are freed behind it', async () => {
    const slow = await NativeSession.open(Ort.load(), products(20), { memoryPattern: true, threads: 1 })
    const result = new Float32Array(512 * 512)
    const identity = result.map((_, at) => Number(at % 513 === 0))
    const [x, y] = [float32(identity, [512, 512]), float32(result, [512, 512])]
    const bound = slow.bind({ feeds: { x }, outputs: { y } })
    const run = slow.runInto({}, {}, { beside: [bound] })
    bound[Symbol.dispose]()
    await expect(slow.runInto({}, {}, { beside: [bound] })).rejects.toThrow('released')
    await run
    expect(result).toEqual(identity)
    await slow.release()
  })
})

test('a freed session refuses to run; it is freed once its last run has ended, and only once', async () => {
  const session = await NativeSession.open(Ort.load(), product(), { memoryPattern: true })
  const last = session.run({ x: x(2000), w }, ['y'])
  await Promise.all([session.release(), session.release()])
  expect((await last).y?.dims).toEqual([2000, 2])
  await expect(session.run({ x: x(1), w }, ['y'])).rejects.toThrow('freed')
})

test('the event loop turns while a graph runs', async () => {
  const session = await NativeSession.open(Ort.load(), products(20), { memoryPattern: true, threads: 1 })
  let ended = false
  const run = session.run({ x: float32(new Float32Array(512 * 512), [512, 512]) }, ['y']).finally(() => {
    ended = true
  })
  let turns = 0
  while (!ended) {
    await new Promise((resolve) => setImmediate(resolve))
    turns++
  }
  await run
  await session.release()
  expect(turns).toBeGreaterThan(50)
})

test.for(['exit', 'throw', 'release', 'garbage', 'bound'])(
  'a process that ends by %s while a graph runs does not crash',
  async (how) => {
    const child = promisify(execFile)(process.execPath, [
      '--expose-gc',
      join(import.meta.dirname, '../../../test/fakes/ends-while-running.ts'),
      how,
    ])
    const ended = await child.then(
      ({ stdout }) => ({ code: 0, signal: null, stdout }),
      (error: { code: number; signal: string | null; stdout: string }) => error,
    )
    expect(ended.signal).toBeNull()
    expect(ended.code).toBe({ exit: 3, throw: 1, release: 0, garbage: 0, bound: 0 }[how])
    expect(ended.stdout).toBe('running\n')
  },
)
