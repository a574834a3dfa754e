import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { clipNorm } from '../training/clip-norm.ts'
import { meanGradients } from '../training/loss/batch-loss.ts'
import { Optimizer } from '../training/optimizer.ts'
import { updateRules } from '../training/parameter-groups.ts'
import { TrainSettings } from '../training/settings.ts'
import { type Figure, report } from './report.ts'
import { median, timed } from './statistics.ts'
import { benchBatch, examples, jobTokens, openBenchLossModel, randomParameters } from './train-model.ts'

/** The reference, PyTorch 1.13 with OpenBLAS on two AVX-512 cores, the same batch: tokens/s, whole steps and forward. */
const reference = { step: [286, 341], forward: [654, 741] } as const

const tokens = examples * jobTokens
/** About a quarter of the tokens are response, as in a task with short answers; and the worst case, all but one. */
const responses = { quarter: 12, all: jobTokens } as const
const roundCount = 5
/** These settings make the batch one run of the model. */
const settings = TrainSettings.parse({ steps: 1, evaluateEvery: 1 })

/** Milliseconds of one batch. */
interface Round {
  readonly forward: number
  /** Forward and backward. */
  readonly gradients: number
  /** Forward, backward and the optimiser's update. */
  readonly step: number
}

interface Training {
  readonly kind: 'iapt' | 'late' | 'lpt'
  readonly response: number
  readonly checkpointing?: boolean
}

/** Measures trainings in turn, so that a drift of the machine meets all of them. */
async function measure(trainings: readonly Training[]): Promise<Round[][]> {
  const prepared = await Promise.all(
    trainings.map(async ({ kind, response, checkpointing = false }) => {
      const model = await openBenchLossModel(kind, { checkpointing })
      const rounds: Round[] = []
      const optimizer = new Optimizer(randomParameters(model), {
        ruleOf: updateRules(model.specs, settings),
      })
      return { model, optimizer, batch: benchBatch(response), rounds }
    }),
  )
  for (let round = -1; round < roundCount; round++)
    for (const { model, optimizer, batch, rounds } of prepared) {
      const { parameters } = optimizer
      const forward = await timed(() => model.score(batch, parameters))
      const start = performance.now()
      const { gradients } = await meanGradients(model, { ...settings, examples: batch, parameters })
      const differentiated = performance.now()
      clipNorm(gradients, settings.clip)
      await optimizer.update(gradients, 1)
      const end = performance.now()
      // The first round opens the graphs.
      if (round >= 0) rounds.push({ forward, gradients: differentiated - start, step: end - start })
    }
  for (const { model, optimizer } of prepared) {
    await optimizer.close()
    await model.close()
  }
  return prepared.map(({ rounds }) => rounds)
}

const backward = ({ forward, gradients }: Round) => gradients - forward

/** Peak MiB of a fresh process that trains. */
async function peakMemory(gradients: 'kept' | 'recomputed', response: number): Promise<number> {
  const child = fork(
    fileURLToPath(new URL('./train-memory.ts', import.meta.url)),
    [gradients, String(response)],
    {
      stdio: 'inherit',
    },
  )
  return z.number().parse((await once(child, 'message'))[0])
}

const perSecond = (milliseconds: number) => (1000 * tokens) / milliseconds
const atMost = (value: number) => ({ kind: 'at most', value }) as const
const atLeast = (value: number) => ({ kind: 'at least', value }) as const

function speed(name: string, rounds: readonly Round[]): Figure[] {
  const step = perSecond(median(rounds.map((round) => round.step)))
  return [
    {
      name: `${name}: forward, backward and update`,
      value: step,
      unit: 'tokens/s',
      bound: atLeast(reference.step[0]),
    },
    {
      name: `${name}: forward and backward`,
      value: perSecond(median(rounds.map((round) => round.gradients))),
      unit: 'tokens/s',
    },
    { name: `${name}: whole step / PyTorch’s slowest`, value: step / reference.step[0], unit: '×' },
    { name: `${name}: whole step / PyTorch’s fastest`, value: step / reference.step[1], unit: '×' },
    {
      name: `${name}: forward alone (PyTorch ${reference.forward.join('–')})`,
      value: perSecond(median(rounds.map(({ forward }) => forward))),
      unit: 'tokens/s',
    },
    {
      name: `${name}: backward / forward`,
      value: median(rounds.map((round) => backward(round) / round.forward)),
      unit: '×',
      bound: atMost(2.3),
    },
  ]
}

export async function benchTrain(): Promise<boolean> {
  const [iapt = [], late = [], lpt = []] = await measure([
    { kind: 'iapt', response: responses.quarter },
    { kind: 'late', response: responses.quarter },
    { kind: 'lpt', response: responses.quarter },
  ])
  const [worst = []] = await measure([{ kind: 'iapt', response: responses.all }])
  const [recomputed = []] = await measure([
    { kind: 'iapt', response: responses.quarter, checkpointing: true },
  ])
  const figures: Figure[] = [
    ...speed('a quarter response', iapt),
    ...speed('all response', worst),
    {
      name: 'checkpointing: forward, backward and update',
      value: perSecond(median(recomputed.map(({ step }) => step))),
      unit: 'tokens/s',
    },
    {
      name: 'late rows: whole step / that of rows behind the first token',
      value: median(late.map(({ step }, index) => step / (iapt[index]?.step ?? step))),
      unit: '×',
      bound: atMost(0.8),
    },
    {
      name: 'lpt at layer 15: backward / iapt’s',
      value: median(lpt.map((round, index) => backward(round) / backward(iapt[index] ?? round))),
      unit: '×',
      bound: atMost(0.6),
    },
    {
      name: 'peak memory, a quarter response',
      value: await peakMemory('kept', responses.quarter),
      unit: 'MiB',
      bound: atMost(2560),
    },
    {
      name: 'peak memory, all response',
      value: await peakMemory('kept', responses.all),
      unit: 'MiB',
      bound: atMost(2560),
    },
    {
      name: 'peak memory with checkpointing, a quarter response',
      value: await peakMemory('recomputed', responses.quarter),
      unit: 'MiB',
      bound: atMost(1638.4),
    },
    {
      name: 'peak memory with checkpointing, all response',
      value: await peakMemory('recomputed', responses.all),
      unit: 'MiB',
      bound: atMost(1638.4),
    },
  ]
  return report(
    `train: iapt, m = 64, ${examples} × ${jobTokens} tokens, f32, medians of ${roundCount}`,
    figures,
  )
}
