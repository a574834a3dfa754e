import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))

async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'quartet-experiments-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return folder
}

async function experiment(...args: readonly string[]): Promise<{ code: unknown; stderr: string }> {
  const env = { ...process.env, QUARTET_CACHE: await emptyFolder() }
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args], { env }, (error, _, stderr) =>
      resolve({ code: error?.code ?? 0, stderr }),
    )
  })
}

it('says how it is used when it is not told what to do', async () => {
  const { code, stderr } = await experiment('trec')
  expect(code).toBe(1)
  expect(stderr).toMatch(/^usage: npm run experiment -- NAME --data FOLDER/)
})

it('says in one line what is missing, and what to do about it', async () => {
  expect(await experiment('trec', '--data', '.')).toEqual({
    code: 1,
    stderr:
      'experiment: the backbone smollm2-135m-instruct (q8) is not on this machine; get it with quartet backbone pull smollm2-135m-instruct --weights q8\n',
  })
})

it('names the line of a results file that is no result', async () => {
  const results = join(await emptyFolder(), 'results.jsonl')
  for (const [line, says] of [
    ['{"task": "trec",', 'it is not JSON'],
    ['{"task": 1}', 'expected string'],
  ] as const) {
    await writeFile(results, `\n${line}\n`)
    const { code, stderr } = await experiment('report', '--results', results)
    expect(code).toBe(1)
    expect(stderr).toContain(`experiment: ${results}, line 2: `)
    expect(stderr).toContain(says)
  }
})
