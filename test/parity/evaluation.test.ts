import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { logSumExp } from '../../gpu-node/engine/distribution.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { Random } from '../../shared/prng.ts'
import { greedyAnswers } from '../../training/evaluation/greedy-answers.ts'
import { likeliestChoice } from '../../training/evaluation/likeliest-choice.ts'
import { measure } from '../../training/evaluation/measure.ts'
import { responseLogLikelihood } from '../../training/evaluation/response-likelihood.ts'
import { generateGreedily } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from './tiny-backbone.ts'

let tiny: TinyBackbone
let backend: OnnxBackend
beforeAll(async () => {
  tiny = await tinyBackbone()
  backend = await openBackend(tiny, { maxBatch: 4 })
})
afterAll(async () => {
  await backend.close()
  await rm(join(tiny.folder, '..'), { recursive: true })
})

const end = 2
const random = new Random(5)
const tokens = (count: number) => Array.from({ length: count }, () => 3 + Math.floor(random.next() * 250))

const adapters = [
  { name: 'the untuned backbone', kind: undefined },
  { name: 'static rows', kind: 'static' },
  { name: 'iapt', kind: 'iapt' },
  { name: 'rows that are carried on from a late layer', kind: 'lpt' },
] as const
const load = (kind: (typeof adapters)[number]['kind']) =>
  kind === undefined
    ? undefined
    : backend.loadAdapter(
        randomAdapter(tiny.manifest, { seed: 4, kind, anchor: 'sink', ...(kind === 'lpt' ? { at: 1 } : {}) }),
      )

describe.each(adapters)('evaluation of $name', ({ kind }) => {
  test('a response has the likelihood that prefill and decode give it token by token', async () => {
    const adapter = load(kind)
    const [instruction, response] = [tokens(9), [...tokens(5), end]]
    const slot = backend.allocate(64)
    if (slot === undefined) throw new Error('no room')
    let sum = 0
    let logits = await backend.prefill({ slot, tokens: instruction, ...(adapter && { adapter }) })
    for (const token of response) {
      sum += (logits[token] ?? Number.NaN) - logSumExp(logits)
      logits = await backend.decode([{ slot, token }])
    }
    slot.release()
    const scored = await responseLogLikelihood({ backend, adapter }, { instruction, response })
    expect(scored).toBeCloseTo(sum, 4)
  })

  test('the chosen label is the one whose whole response is the likeliest', async () => {
    const adapter = load(kind)
    const stem = tokens(2)
    const choices = [
      ...Array.from({ length: 12 }, (_, i) => [...stem, ...tokens(1 + (i % 3)), end]),
      ...Array.from({ length: 12 }, (_, i) => [...tokens(1 + (i % 3)), end]),
      [...stem, end],
    ]
    const picked = new Set<number>()
    for (let round = 0; round < 6; round++) {
      const instruction = tokens(4 + round)
      const likelihoods: number[] = []
      for (const response of choices)
        likelihoods.push(await responseLogLikelihood({ backend, adapter }, { instruction, response }))
      const chosen = await likeliestChoice({ backend, adapter }, { instruction, choices })
      expect(chosen).toBe(likelihoods.indexOf(Math.max(...likelihoods)))
      picked.add(chosen)
    }
    expect(picked.size).toBeGreaterThan(1)
  })

  test('answers in a batch are those that each prompt gets alone', async () => {
    const adapter = load(kind)
    const prompts = Array.from({ length: 7 }, (_, i) => tokens(3 + 2 * i))
    const alone: number[][] = []
    for (const prompt of prompts) {
      const ids = await generateGreedily(backend, { prompt, adapter, count: 8 })
      alone.push(ids.includes(end) ? ids.slice(0, ids.indexOf(end)) : ids)
    }
    let answered = 0
    const together = await greedyAnswers({
      backend,
      adapter,
      prompts,
      maxTokens: 8,
      stopTokens: [end],
      onAnswer: () => answered++,
    })
    expect(together).toEqual(alone)
    expect(answered).toBe(prompts.length)
  })
})

const options = () => ({
  backend,
  maxTokens: 4,
  stopTokens: [end],
  decode: (ids: readonly number[]) => ids.filter((id) => id !== end).join(' '),
})

test('responses to one prompt are references of one answer', async () => {
  const [asked, other] = [tokens(5), tokens(6)]
  const examples = [
    { instruction: asked, response: [7, end] },
    { instruction: other, response: [8, end] },
    { instruction: asked, response: [9, end] },
  ]
  const parts = new Set(['answers', 'likelihood'] as const)
  const { answers, likelihoods, labels } = await measure(
    { ...options(), examples, parts, choices: [] },
    { adapter: undefined },
  )
  expect(answers.map(({ references }) => references)).toEqual([['7', '9'], ['8']])
  expect(likelihoods).toHaveLength(3)
  expect(labels).toEqual([])
})

test('a response that is none of the choices is named before anything is measured', async () => {
  const examples = [{ instruction: tokens(5), response: [7, end] }]
  const choices = [{ text: '8', tokens: [8, end] }]
  const parts = new Set(['labels'] as const)
  await expect(measure({ ...options(), examples, parts, choices }, { adapter: undefined })).rejects.toThrow(
    'the response “7” is none of the 1 choices',
  )
})
