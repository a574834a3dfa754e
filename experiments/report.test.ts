import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { tablesOf, withTables } from './report.ts'
import { isFinished, Result, readResults } from './result.ts'

const run = (variant: string, { seed, accuracy }: { seed: number; accuracy: number }): Result =>
  Result.parse({
    task: 'trec',
    variant,
    seed,
    steps: variant === 'untuned' ? 0 : 100,
    parameters: variant === 'untuned' ? 0 : 69_120,
    bytes: 1,
    trained: 1600,
    tested: { likelihood: 400, labels: 400, answers: 0 },
    metrics: {
      labelAccuracy: { value: accuracy, low: accuracy - 0.03, high: accuracy + 0.03 },
      loss: { value: 0.5, low: 0.4, high: 0.6 },
    },
    trainSeconds: 90,
    trainTokensPerSecond: 300,
    evaluateSeconds: 10,
    backbone: { slug: 'tiny', digest: 'd' },
    versions: { quartet: '0', onnxruntime: '1', node: '24' },
    cpu: 'none',
  })

const results = [
  run('static-4', { seed: 1, accuracy: 0.84 }),
  run('static-4', { seed: 0, accuracy: 0.82 }),
  run('untuned', { seed: 0, accuracy: 0.3 }),
]

test('a table has the mean over seeds, each seed, and the reference beside it', () => {
  const lines = tablesOf(results).split('\n')
  expect(lines).toContain('| untuned, 8-bit weights | 30.0 ± 3.0 |  | 0.500 |  |  |')
  expect(lines).toContain(
    '| static, 4 rows | 83.0 ± 3.0 | 0: 82.0, 1: 84.0 | 0.500 | 69 k | 100 steps, 1.5 min, 300 tok/s |',
  )
  expect(lines.some((line) => line.startsWith('| *reference:* LoRA r = 4'))).toBe(true)
})

test('a run counts as finished for its task, variant, seed and steps alone', () => {
  const done = { task: 'trec', variant: 'static-4', seed: 1, steps: 100 }
  expect(isFinished(results, done)).toBe(true)
  expect(isFinished(results, { ...done, seed: 2 })).toBe(false)
  expect(isFinished(results, { ...done, steps: 200 })).toBe(false)
  expect(isFinished(results, { ...done, task: 'sst2' })).toBe(false)
})

test('docs/results.md shows what the results file holds', async () => {
  const kept = await readResults(new URL('../docs/results/results.jsonl', import.meta.url).pathname)
  const document = await readFile(new URL('../docs/results.md', import.meta.url), 'utf8')
  expect(withTables(document, kept)).toBe(document)
})
