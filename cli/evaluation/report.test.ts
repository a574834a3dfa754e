import { afterEach, expect, test, vi } from 'vitest'
import type { Evaluated } from '../../training/evaluation/evaluate.ts'
import { answerLines, type EvaluationReport, labelLines, printEvaluation } from './report.ts'

afterEach(() => vi.restoreAllMocks())

const estimate = (value: number) => ({ value, low: value / 2, high: value * 2 })

test('the table has a row per figure that was measured and a column per model', () => {
  const printed: string[] = []
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => printed.push(String(text)) > 0)
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const report: EvaluationReport = {
    backbone: { slug: 'tiny', digest: 'd' },
    data: { name: 'held-out.jsonl', sha256: 's', examples: 50 },
    settings: { maxTokens: 20, choices: [], seed: 0 },
    models: [
      { name: 'untuned', seconds: 1, metrics: { loss: estimate(2.5), perplexity: estimate(12.2) } },
      {
        name: 'tickets',
        digest: 'a',
        kind: 'iapt',
        seconds: 1,
        metrics: { loss: estimate(0.5), perplexity: estimate(1.6), exactMatch: estimate(0.4) },
      },
    ],
  }
  printEvaluation(report)
  expect(printed.join('')).toBe(
    [
      'metric          untuned                 tickets',
      'loss per token  2.500 (1.250 to 5.000)  0.500 (0.250 to 1.000)',
      'perplexity      12.20 (6.10 to 24.40)   1.60 (0.80 to 3.20)',
      'exact match %   –                       40.0 (20.0 to 80.0)',
      '',
    ].join('\n'),
  )
})

test('answers stand side by side, one prompt a line', () => {
  const evaluated = (name: string, output: string): Evaluated => ({
    name,
    seconds: 1,
    metrics: {},
    measurements: { likelihoods: [], labels: [], answers: [{ prompt: 'p', output, references: ['b'] }] },
  })
  const lines = answerLines([evaluated('untuned', 'a\nb'), evaluated('tickets', 'b')])
  expect(lines.split('\n').map((line) => line && JSON.parse(line))).toEqual([
    { prompt: 'p', references: ['b'], untuned: 'a\nb', tickets: 'b' },
    '',
  ])
})

test('chosen labels stand side by side, one example a line', () => {
  const evaluated = (name: string, chosen: string): Evaluated => ({
    name,
    seconds: 1,
    metrics: {},
    measurements: { likelihoods: [], answers: [], labels: [{ prompt: 'p', chosen, expected: 'b' }] },
  })
  const lines = labelLines([evaluated('untuned', 'a'), evaluated('tickets', 'b')])
  expect(lines.split('\n').map((line) => line && JSON.parse(line))).toEqual([
    { prompt: 'p', expected: 'b', untuned: 'a', tickets: 'b' },
    '',
  ])
})
