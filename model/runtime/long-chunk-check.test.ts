import { expect, test } from 'vitest'
import { FakeBackend } from '../../test/fakes/fake-backend.ts'
import { checkLongChunks, longChunkDifference } from './long-chunk-check.ts'

/** A device whose logits behind a chunk of so many tokens and more are changed. */
function device(alter: (logits: Float32Array) => void): FakeBackend {
  const backend = new FakeBackend({ chunkTokens: 64 })
  let isLong = false
  backend.beforeCall = (call) => {
    isLong = call.type === 'prefill' && call.tokens >= 32
  }
  backend.alterLogits = (logits) => {
    if (isLong) alter(logits)
  }
  return backend
}

test('a device that gives other logits for a long chunk than for short ones is refused, with what to do', async () => {
  for (const alter of [
    (logits: Float32Array) => logits.reverse(),
    (logits: Float32Array) => logits.fill(Number.NaN, 3, 4),
  ])
    await expect(checkLongChunks(device(alter), 'webgpu')).rejects.toMatchObject({
      code: 'node_unavailable',
      message: expect.stringMatching(/webgpu gives wrong results.*48 tokens at once.*update.*--device cpu/),
    })
})

test('one whose logits move by the noise of 16-bit floats is not, and its cache is left empty', async () => {
  const backend = device((logits) => {
    for (const at of logits.keys()) logits[at] = (logits[at] ?? 0) * (at % 2 === 0 ? 1.005 : 0.995)
  })
  await checkLongChunks(backend, 'webgpu')
  expect(await longChunkDifference(backend)).toBeGreaterThan(0.001)
  expect(backend.usedRows).toBe(0)
  expect(await longChunkDifference(new FakeBackend({ contextLength: 20 }))).toBe(0)
})
