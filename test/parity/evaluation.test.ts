import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { logNormaliser } from '../../model/runtime/logits.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { Random } from '../../shared/prng.ts'
import { greedyAnswer } from '../../training/evaluation/greedy-answer.ts'
import { likeliestChoice } from '../../training/evaluation/likeliest-choice.ts'
import { type MeasureOptions, measure } from '../../training/evaluation/measure.ts'
import { readPrompts } from '../../training/evaluation/read-prompts.ts'
import { openSequence } from '../../training/evaluation/served-model.ts'
import { generateGreedily } from './generation.ts'
import { randomAdapter } from './random-adapter.ts'
import { responseLogLikelihood } from './response-likelihood.ts'
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
      sum += (logits[token] ?? Number.NaN) - logNormaliser(logits)
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
      const [chosen = -1] = await readPrompts({ backend, adapter }, [
        { instruction, room: 8, reader: (next) => likeliestChoice(next, choices) },
      ])
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
    const together = await readPrompts(
      { backend, adapter },
      prompts.map((instruction) => ({
        instruction,
        room: 8,
        reader: (next) => greedyAnswer(next, { maxTokens: 8, stopTokens: [end] }),
      })),
      { onRead: () => answered++ },
    )
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

const window = 512
const tail = 4
describe.each([
  { name: 'the untuned backbone', rows: undefined },
  { name: 'rows behind the first token', rows: { placement: 'after-first', window } },
  { name: 'late rows', rows: { placement: 'late', tail, window } },
  { name: 'late rows with a narrow window', rows: { placement: 'late', tail, window: 40 } },
  { name: 'rows in front of the newest turn', rows: { placement: 'turn', window } },
])('a prompt about as long as a run, with $name,', ({ rows }) => {
  test('is read to the very logits that one run of all of it gives, however long it is', async () => {
    const whole = await openBackend(tiny, { maxBatch: 4, chunkTokens: 1024 })
    try {
      const file = rows && randomAdapter(tiny.manifest, { seed: 4, ...rows })
      const prompt = tokens(2 * window + 8)
      const turns = rows?.placement === 'turn' ? [0, 1, 500] : [0]
      for (const length of [511, 512, 513, 514, 515, 516, 517, 518, 544, 545, 549, 556, 1000])
        for (const turn of turns.filter((turn) => turn < length)) {
          const instruction = prompt.slice(0, length)
          const next = async (read: OnnxBackend) => {
            const adapter = file && read.loadAdapter(file)
            using opened = await openSequence({ backend: read, adapter }, { instruction, room: 4, turn })
            return opened.next
          }
          expect(await next(backend), `${length} tokens, ${turn} in front`).toEqual(await next(whole))
        }
    } finally {
      await whole.close()
    }
  })
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

test('every prompt is read once for all that is measured behind it', async () => {
  const [asked, other] = [tokens(15), tokens(16)]
  const choices = [8, 9, 10].map((id) => ({ text: String(id), tokens: [id, 11, end] }))
  const examples = [
    { instruction: asked, response: [8, 11, end] },
    { instruction: other, response: [9, 11, end] },
    { instruction: asked, response: [9, 11, end] },
  ]
  const read: number[] = []
  const counted: MeasureOptions['backend'] = {
    allocate: (rows) => backend.allocate(rows),
    decode: (batch) => backend.decode(batch),
    limits: backend.limits,
    score: (chunk, positions) => {
      read.push(chunk.tokens.length)
      return backend.score(chunk, positions)
    },
  }
  const parts = new Set(['answers', 'labels', 'likelihood'] as const)
  const named = { ...options(), decode: (ids: readonly number[]) => String(ids[0]) }
  const measured = await measure(
    { ...named, backend: counted, examples, parts, choices },
    { adapter: undefined },
  )
  // What is read behind a prompt is shorter.
  expect(read.filter((count) => count >= 15)).toEqual([15, 16])
  expect(measured.labels.map(({ expected }) => expected)).toEqual(['8', '9', '9'])
  for (const [at, { logLikelihood }] of measured.likelihoods.entries()) {
    const example = examples[at]
    if (example === undefined) throw new Error('one likelihood per example')
    expect(logLikelihood).toBeCloseTo(
      await responseLogLikelihood({ backend, adapter: undefined }, example),
      4,
    )
  }
})
