import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { resultTables, withTables } from './report.ts'
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
    backbone: { slug: 'smollm2-135m-instruct', digest: 'd' },
    versions: { quartet: '0', onnxruntime: '1', node: '24' },
    cpu: 'none',
  })

const results = [
  run('static-4', { seed: 1, accuracy: 0.84 }),
  run('static-4', { seed: 0, accuracy: 0.82 }),
  run('untuned', { seed: 0, accuracy: 0.3 }),
]

test('a table has the mean over seeds, each seed, and the reference beside it', () => {
  const lines = resultTables(results).split('\n')
  expect(lines).toContain('| untuned, 8-bit weights | 30.0 ± 3.0 |  |  | 0.500 |  |  |')
  expect(lines).toContain(
    '| static, 4 rows | 83.0 ± 3.0 | 0: 82.0, 1: 84.0 |  | 0.500 | 69 k | 100 steps, 1.5 min, 300 tok/s |',
  )
  expect(lines.some((line) => line.startsWith('| *reference:* LoRA r = 4'))).toBe(true)
})

test('a run counts as finished for its task, variant, seed, steps, settings and backbone alone', () => {
  const adapter = { kind: 'static', l_sp: 4 }
  const settings = { clip: 1, rates: { static: 0.01, generator: 0.001 } }
  const done = { ...run('static-4', { seed: 1, accuracy: 0.84 }), adapter, settings }
  const turned = { rates: { generator: 0.001, static: 0.01 }, clip: 1 }
  expect(isFinished([done], { ...done, settings: turned })).toBe(true)
  for (const other of [
    { seed: 2 },
    { steps: 200 },
    { task: 'sst2' },
    { settings: { ...settings, clip: 0.3 } },
    { adapter: { ...adapter, l_sp: 5 } },
    { backbone: { slug: 'tiny', digest: 'e' } },
  ])
    expect(isFinished([done], { ...done, ...other })).toBe(false)
})

test('dev data choose among variants of one kind and placement, test data report the chosen one', () => {
  const tried = (variant: string, { dev, accuracy }: { dev: number; accuracy: number }): Result => ({
    ...run(variant, { seed: 0, accuracy }),
    adapter: { kind: 'iapt', placement: 'late' },
    dev: { examples: 200, metrics: { labelAccuracy: { value: dev, low: dev, high: dev } } },
  })
  const tables = resultTables([
    ...results,
    tried('iapt-late', { dev: 0.8, accuracy: 0.99 }),
    tried('iapt-late-m16', { dev: 0.9, accuracy: 0.7 }),
  ])
  expect(tables).toContain('| iapt, late, m = 16 | 70.0 ± 3.0 | 0: 70.0 | 90.0 |')
  expect(tables).toContain(
    'Of 2 variants of iapt, late, 100 steps, dev data choose *iapt, late, m = 16*: 90.0 on 200 dev examples, 70.0 on test data.',
  )
  expect(resultTables(results)).not.toContain('dev data choose')
  // Two stacks are no variants of a kind.
  const stacks = [0.8, 0.9].map((dev) => ({
    ...tried(`iapt-late of trec+${dev}`, { dev, accuracy: 0.8 }),
    adapter: { parts: ['trec', 'sst2'] },
  }))
  expect(resultTables([...results, ...stacks])).not.toContain('dev data choose')
})

test('the last result counts for a run that was made again', () => {
  const [first = '', ...others] = [0.82, 0.9].map((accuracy) =>
    resultTables([...results, run('static-4', { seed: 0, accuracy })]),
  )
  expect(first).toBe(resultTables(results))
  expect(others[0]).toContain('0: 90.0, 1: 84.0')
})

test('runs on another backbone stand in a table of their own, without the reference', () => {
  const other = { ...run('static-4', { seed: 0, accuracy: 0.95 }), backbone: { slug: 'tiny', digest: 'e' } }
  const [first = '', second = ''] = resultTables([...results, other]).split(
    'On tiny, measured on 400 held-out examples:',
  )
  expect(first.trimEnd()).toBe(resultTables(results).trimEnd())
  expect(second).toContain('| static, 4 rows | 95.0 ± 3.0 | 0: 95.0 |')
  expect(second).not.toContain('reference')
})

test('docs/results.md shows what the results file holds', async () => {
  const kept = await readResults(new URL('../docs/results/results.jsonl', import.meta.url).pathname)
  const document = await readFile(new URL('../docs/results.md', import.meta.url), 'utf8')
  expect(withTables(document, kept)).toBe(document)
})
