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
