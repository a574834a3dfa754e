import { expect, test } from 'vitest'
import { grid } from './grid.ts'
import type { Result } from './result.ts'
import { inWords, secondsOf } from './time-left.ts'

test('the grid holds each late variant against its counterpart on four tasks with three seeds, and no run twice', () => {
  const runs = grid.flatMap(({ backbone, epochs, seeds, task, variants }) =>
    seeds.flatMap((seed) => variants.map((variant) => [backbone, task, epochs, variant, seed].join(' '))),
  )
  expect(new Set(runs).size).toBe(runs.length)
  for (const task of ['sst2', 'trec', 'e2e', 'banking77'])
    for (const seed of [0, 1, 2])
      for (const [late, first] of [
        ['iapt-late', 'iapt'],
        ['iapt-late-m16', 'iapt-m16'],
        ['static-4-late', 'static-4'],
        ['static-20-late', 'static-20'],
      ])
        for (const variant of [late, first])
          expect(runs).toContain(`smollm2-135m-instruct ${task} 1 ${variant} ${seed}`)
  const larger = grid.filter(({ backbone }) => backbone.startsWith('qwen'))
  expect(new Set(larger.map(({ task }) => task)).size).toBe(2)
})

const finished = (task: string, slug: string, trainSeconds: number): Result => ({
  ...{ task, variant: 'iapt', seed: 0, steps: 100, trainSeconds, evaluateSeconds: 50 },
  ...{ parameters: 1, bytes: 1, trained: 1600, trainTokensPerSecond: 1, metrics: {}, cpu: '' },
  tested: { likelihood: 1, labels: 1, answers: 0 },
  backbone: { slug, digest: 'a'.repeat(64) },
  versions: { quartet: '0', onnxruntime: '0', node: '0' },
})

test("a run's time is told by the finished runs that are most like it", () => {
  const results = [
    finished('trec', 'small', 100),
    finished('trec', 'small', 300),
    finished('sst2', 'small', 500),
  ]
  expect(secondsOf({ task: 'sst2', backbone: 'small', steps: 100 }, results)).toBe(550)
  expect(secondsOf({ task: 'sst2', backbone: 'small', steps: 300 }, results)).toBe(1550)
  expect(secondsOf({ task: 'e2e', backbone: 'small', steps: 100 }, results)).toBe(350)
  expect(secondsOf({ task: 'e2e', backbone: 'larger', steps: 100 }, results)).toBe(4 * 350)
  expect(secondsOf({ task: 'e2e', backbone: 'small', steps: 100 }, [])).toBeUndefined()
  expect([inWords(20), inWords(3_599), inWords(7_500)]).toEqual(['1 min', '1 h 0 min', '2 h 5 min'])
})
