import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))

it.each([
  ['train', 'f32'],
  ['kinds', 'q8'],
])('%s without its backbone says in one line how to get it', async (name, weights) => {
  const cache = await mkdtemp(join(tmpdir(), 'quartet-bench-'))
  onTestFinished(() => rm(cache, { recursive: true }))
  const env = { ...process.env, QUARTET_CACHE: cache }
  const outcome = await new Promise((resolve) => {
    execFile(process.execPath, [main, name], { env }, (error, _, stderr) =>
      resolve({ code: error?.code, stderr }),
    )
  })
  expect(outcome).toEqual({
    code: 1,
    stderr: `bench: the backbone smollm2-135m-instruct (${weights}) is not on this machine; get it with quartet backbone pull smollm2-135m-instruct --weights ${weights}\n`,
  })
})
