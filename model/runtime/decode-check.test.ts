import { expect, test } from 'vitest'
import { type BackendCall, FakeBackend } from '../../test/fakes/fake-backend.ts'
import { checkDecoding, decodeDifference } from './decode-check.ts'

/** A device whose logits of decoded tokens are changed, from decode `from` up to decode `to`. */
function device(
  alter: (logits: Float32Array) => void,
  { from = 0, to = Number.POSITIVE_INFINITY } = {},
): FakeBackend {
  const backend = new FakeBackend()
  let decodes = 0
  let last: BackendCall['type'] = 'prefill'
  backend.beforeCall = ({ type }) => {
    last = type
    if (type === 'decode') decodes++
  }
  backend.alterLogits = (logits) => {
    if (last === 'decode' && decodes > from && decodes <= to) alter(logits)
  }
  return backend
}

test('a device that decodes other logits than it reads is refused, also where only a repeated run does', async () => {
  for (const from of [0, 1])
    await expect(
      checkDecoding(
        device((logits) => logits.reverse(), { from }),
        'cuda',
      ),
    ).rejects.toMatchObject({
      code: 'node_unavailable',
      message: expect.stringMatching(/cuda gives wrong results.*decoded.*--cuda-graphs off.*--device cpu/),
    })
})

test('a device that gives NaN for one token alone is refused, whichever decode it is of', async () => {
  for (const decode of [1, 2, 4]) {
    const backend = device((logits) => logits.fill(Number.NaN, 3, 4), { from: decode - 1, to: decode })
    await expect(checkDecoding(backend, 'webgpu')).rejects.toThrow('NaN %')
  }
})

test('one whose logits move by the noise of 16-bit floats is not, and its cache is left empty', async () => {
  const backend = device((logits) => {
    for (const at of logits.keys()) logits[at] = (logits[at] ?? 0) * (at % 2 === 0 ? 1.005 : 0.995)
  })
  await checkDecoding(backend, 'cuda')
  expect(await decodeDifference(backend)).toBeGreaterThan(0.001)
  expect(backend.usedRows).toBe(0)
  expect(await decodeDifference(new FakeBackend({ maxBatch: 1 }))).toBe(0)
})
