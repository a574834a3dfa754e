import { parse as parseCsv } from 'csv-parse/sync'
import { z } from 'zod'
import { sample } from './sample.ts'
import { devExamples, type Pair, type Task } from './task.ts'

const Rows = z.array(z.object({ mr: z.string().min(1), ref: z.string().min(1) }))

/** Columns `mr` and `ref`. */
function parse(file: string): readonly Pair[] {
  return Rows.parse(parseCsv(file, { columns: true, bom: true })).map(({ mr, ref }) => ({
    prompt: mr,
    answer: ref,
  }))
}

const answered = 40

export const e2e: Task = {
  title: 'E2E',
  score: 'loss',
  conditions: `meaning representation → reference; 640 of devset.csv, loss per token on 300 references of testset_w_refs.csv, BLEU of the greedy answers to ${answered} of its meaning representations against all their references`,
  files: { train: 'e2e/devset.csv', test: 'e2e/testset_w_refs.csv' },
  parse({ train, test }) {
    const drawn = sample(parse(train), 640 + devExamples)
    const held = parse(test)
    const asked = new Set(sample([...new Set(held.map(({ prompt }) => prompt))], answered))
    return {
      train: drawn.slice(0, 640),
      dev: drawn.slice(640),
      test: {
        likelihood: sample(held, 300),
        labels: [],
        answers: held.filter(({ prompt }) => asked.has(prompt)),
      },
      choices: [],
    }
  },
}

/** E2E behind a system message: the newest turn does not begin the prompt. */
export const e2eSystem: Task = {
  ...e2e,
  title: 'E2E behind a system message',
  conditions: `as E2E, with a system message in front of each meaning representation: rows in front of the newest turn stand behind it`,
  system:
    'You write for a guide to restaurants. You are given the facts of a place: its name, the kind of food, the price range, the rating of its customers, the area, whether families are welcome, and what it is near. Answer with one or two sentences that tell a reader all of these facts and nothing else.',
}
