import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { OpenAI, toFile } from 'openai'
import { Job } from '../shared/api/fine-tuning.ts'
import { closedLoop, request } from './load.ts'
import { startQuartet } from './quartet.ts'
import { report } from './report.ts'
import { median } from './statistics.ts'

const clients = 2
const requests = 16
const rounds = 3
/** Few, so that a job is soon at its steps again after a pause. */
const examples = 48
/** A trainer hears of a pause with its next report: six in a lease. */
const leaseSeconds = '3'

/** The effect of a job on the answers that are served beside it on the same machine. */
export async function benchTrainer(): Promise<boolean> {
  process.env.QUARTET_TRAINER_LEASE_SECONDS = leaseSeconds
  await using quartet = await startQuartet(1)
  const client = new OpenAI({ baseURL: `${quartet.edge}/v1`, apiKey: quartet.key })
  const lines = (await readFile(new URL('../demo/tickets.train.jsonl', import.meta.url), 'utf8')).split('\n')
  const file = await client.files.create({
    purpose: 'fine-tune',
    file: await toFile(Buffer.from(lines.slice(0, examples).join('\n')), 'tickets.jsonl'),
  })
  const { id } = await client.fineTuning.jobs.create({
    model: quartet.backbone,
    training_file: file.id,
    method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 50 } } },
  })
  const steps = async () => Job.parse(await client.fineTuning.jobs.retrieve(id)).progress?.step ?? 0
  /** Until the trainer makes steps again. */
  const untilTraining = async () => {
    const before = await steps()
    while ((await steps()) <= before) await delay(250)
  }
  const target = quartet.target(() => quartet.backbone)
  await request(target, 0)
  await untilTraining()
  const pairs: { alone: number; beside: number; firstAlone: number; firstBeside: number }[] = []
  let made = 0
  for (let round = 0; round < rounds; round++) {
    const before = await steps()
    const beside = await closedLoop(target, { clients, requests })
    made += (await steps()) - before
    await client.fineTuning.jobs.pause(id)
    await delay(2_000 * Number(leaseSeconds))
    const alone = await closedLoop(target, { clients, requests })
    pairs.push({
      alone: alone.totalMs.p95,
      beside: beside.totalMs.p95,
      firstAlone: alone.firstTokenMs.p95,
      firstBeside: beside.firstTokenMs.p95,
    })
    console.log(
      `round ${round + 1}: p95 ${beside.totalMs.p95.toFixed(0)} ms beside, ${alone.totalMs.p95.toFixed(0)} ms alone`,
    )
    await client.fineTuning.jobs.resume(id)
    if (round < rounds - 1) await untilTraining()
  }
  await client.fineTuning.jobs.cancel(id)
  const ratio = median(pairs.map((pair) => pair.beside / pair.alone))
  return report(
    `trainer: ${clients} clients, 48 new tokens each, with and without a job on the same machine`,
    [
      { name: 'p95 of an answer, alone', value: median(pairs.map((pair) => pair.alone)), unit: 'ms' },
      { name: 'p95 of an answer beside a job', value: median(pairs.map((pair) => pair.beside)), unit: 'ms' },
      {
        name: 'beside a job / alone',
        value: ratio,
        unit: '×',
        bound: { kind: 'at most', value: 1.3 },
      },
      {
        name: 'p95 of the first token, beside / alone',
        value: median(pairs.map((pair) => pair.firstBeside / pair.firstAlone)),
        unit: '×',
      },
      { name: 'steps made beside the answers', value: made, unit: '' },
    ],
  )
}
