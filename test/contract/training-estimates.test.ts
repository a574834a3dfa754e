import { expect, test } from 'vitest'
import { LineCheck } from '../../edge/files/line-check.ts'
import type { Counted } from '../../edge/files/token-counts.ts'
import { TokenCounts } from '../../edge/files/token-counts.ts'
import { estimateTraining, newAdapter } from '../../edge/fine-tuning/estimate.ts'
import { Hyperparameters } from '../../shared/api/fine-tuning.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import { BackboneDigest, BackboneSlug } from '../../shared/ids.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { jobSize, tokensOfJob } from '../../shared/training/job-size.ts'
import { promptFormatOf, servedEncoder } from '../../shared/training/prompt-encoder.ts'
import { lengthOf } from '../../training/data/batches.ts'
import { parseDataset } from '../../training/data/dataset.ts'
import { splitDev } from '../../training/data/split.ts'
import { tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'

const backbone: EdgeBackbone = {
  slug: BackboneSlug.parse('tiny'),
  digest: BackboneDigest.parse('ab'.repeat(32)),
  tokens: { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd, tinySpecials.endOfText] },
  chat: tinyChat,
  contextLength: 512,
  d: 64,
  layers: 2,
  vocab: 303,
}
const codec = TextCodec.compile(tinyTokenizer)

const pair = (at: number) => ({ prompt: `hello world ${at}`, completion: `order ${at}` })
const talk = (at: number) => ({
  messages: [
    { role: 'system', content: 'Answer in a word.' },
    { role: 'user', content: `Where is ${at}?` },
    { role: 'assistant', content: 'Here.' },
    { role: 'user', content: 'And now?' },
    { role: 'assistant', content: `There, ${at}.` },
  ],
})

/** `giveTurn` is called where other work of the edge goes on. */
async function count(
  lines: readonly string[],
  {
    contextLength = 512,
    giveTurn = async () => {},
  }: { readonly contextLength?: number; readonly giveTurn?: () => Promise<void> } = {},
): Promise<Counted> {
  const counts = new TokenCounts([
    { backbone: { ...backbone, contextLength }, codec, promptRows: newAdapter(backbone)?.rows ?? 0 },
  ])
  const check = new LineCheck('fine-tune', (line) => counts.add(line))
  check.push(new TextEncoder().encode(lines.join('\n')))
  check.end()
  await counts.count(giveTurn)
  const [result] = counts.result
  if (result === undefined) throw new Error('nothing was counted')
  return result
}

test('a file’s tokens are counted at its upload as a trainer reads them, and the estimate is what a trainer plans', async () => {
  const lines = Array.from({ length: 40 }, (_, at) => JSON.stringify(at % 4 === 0 ? talk(at) : pair(at)))
  const counted = await count(lines)
  const encoder = servedEncoder(backbone, codec)
  const { dataset } = parseDataset(new TextEncoder().encode(lines.join('\n')), {
    name: 'file',
    encoder,
    prompts: promptFormatOf(backbone),
    room: backbone.contextLength - (newAdapter(backbone)?.rows ?? 0),
  })
  const tokens = dataset.examples.reduce((sum, example) => sum + lengthOf(example), 0)
  expect(counted).toEqual({ backbone: 'tiny', examples: 50, tokens, is_exact: true, problem: null })
  for (const hyperparameters of [
    Hyperparameters.parse({}),
    Hyperparameters.parse({ n_epochs: 3, batch_size: 4 }),
  ]) {
    const { train } = splitDev(dataset.examples, { share: 0.1, seed: 1 })
    const size = jobSize(train.length, hyperparameters)
    const planned = tokensOfJob(
      train.reduce((sum, example) => sum + lengthOf(example), 0),
      size,
    )
    const estimate = estimateTraining({
      backbone,
      count: counted,
      hyperparameters,
      hasValidationFile: false,
      tokensPerSecond: 100,
    })
    expect(estimate).toMatchObject({ examples: train.length, steps: size.steps, seconds_from: 'trainers' })
    // Which examples are set apart is the seed's choice, so the tokens of the rest are near, not equal.
    expect(Math.abs((estimate?.trained_tokens ?? 0) / planned - 1)).toBeLessThan(0.05)
    expect(estimate?.seconds).toBe(Math.ceil((estimate?.trained_tokens ?? 0) / 100))
  }
})

test('a conversation of many answers is counted with turns for others in between, and no longer than other examples', async () => {
  const many = (answers: number) =>
    JSON.stringify({
      messages: Array.from({ length: answers }, () => [
        { role: 'user', content: 'hello' },
        { role: 'assistant', content: 'world' },
      ]).flat(),
    })
  const contextLength = 131_072
  let turns = 0
  const giveTurn = async () => void turns++
  const whole = await count([many(30)], { contextLength, giveTurn })
  expect(whole).toMatchObject({ examples: 30, is_exact: true, problem: null })
  expect(turns).toBeGreaterThan(1)
  const cut = await count([many(30), many(2_000)], { contextLength })
  expect(cut).toMatchObject({ examples: 2_030, is_exact: false, problem: null })
  // An answer's prompt grows by one question and one answer each.
  const perTurn = (2 * whole.tokens) / (30 * 31)
  expect(cut.tokens / ((perTurn * 2_000 ** 2) / 2)).toBeCloseTo(1, 1)
})

test('a line that a backbone has no room for is named, and the other lines are counted', async () => {
  const long = JSON.stringify({ prompt: 'x y '.repeat(400), completion: 'b' })
  const { examples, problem } = await count([JSON.stringify(pair(1)), long, JSON.stringify(pair(2)), long])
  expect(examples).toBe(2)
  expect(problem).toMatch(/^line 2: the prompt is longer than the 512 tokens .*; shorten it \(and 1 more\)$/)
})

test('an estimate without a measured speed says that its time is an assumption', () => {
  const estimate = estimateTraining({
    backbone,
    count: { examples: 10, tokens: 1_000 },
    hyperparameters: Hyperparameters.parse({}),
    hasValidationFile: true,
    tokensPerSecond: undefined,
  })
  expect(estimate).toMatchObject({ examples: 10, seconds_from: 'assumption' })
  expect(estimate?.seconds).toBeGreaterThan(0)
})
