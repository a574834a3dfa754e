import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadFailure } from './session.ts'

test('a GPU on which a backbone cannot be loaded is named with what the weights take and which setting lowers it', async ({
  onTestFinished,
}) => {
  const folder = await mkdtemp(join(tmpdir(), 'quartet-session-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const failure = (device: 'cpu' | 'cuda' | 'webgpu') =>
    loadFailure(new Error('Failed to allocate memory'), { folder, file: 'model.onnx', device })
  expect(await failure('cuda')).toMatchObject({ message: expect.stringMatching(/nvidia-smi.*--device cpu$/) })
  await writeFile(join(folder, 'weights.bin'), new Uint8Array(2.5 * 2 ** 20))
  for (const device of ['cuda', 'webgpu'] as const)
    expect(await failure(device)).toMatchObject({
      code: 'node_unavailable',
      message: expect.stringMatching(/model\.onnx.*Failed to allocate.*weights take 3 MiB.*--weights/),
    })
  expect(await failure('cpu')).toMatchObject({
    code: 'backbone_invalid',
    message: expect.stringMatching(/pull it again$/),
  })
})
