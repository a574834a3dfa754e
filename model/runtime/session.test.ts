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
})

test.for([
  'Exception during initialization: std::bad_alloc',
  'Failed to allocate memory for requested buffer of size 28311552',
  'Array buffer allocation failed',
  'mmap failed: Cannot allocate memory',
])('on the CPU, too little memory for a whole backbone is told from a broken one: %s', async (reason) => {
  const on = { folder: 'smollm2', file: 'model.onnx', device: 'cpu' } as const
  expect(await loadFailure(new Error(reason), on)).toMatchObject({
    code: 'node_unavailable',
    message: expect.stringMatching(/too little memory.*fewer bits \(--weights\)$/),
  })
  const saving = '--prefill-weights stored (406 MiB less)'
  const { message } = await loadFailure(new Error(reason), { ...on, saving })
  expect(message).toContain(`use ${saving}, or take a backbone in fewer bits`)
  expect(message).not.toContain('pull it again')
  expect(await loadFailure(new Error('Protobuf parsing failed.'), { ...on, saving })).toMatchObject({
    code: 'backbone_invalid',
    message: expect.stringMatching(/pull it again$/),
  })
})
