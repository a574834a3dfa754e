import { parse as parseCsv } from 'csv-parse/sync'
import { z } from 'zod'
import { sample } from './sample.ts'
import { devExamples, type Pair, type Task } from './task.ts'

const Rows = z.array(z.object({ text: z.string().min(1), category: z.string().min(1) }))

/** Columns `text` and `category`, the category in words. */
function parse(file: string): readonly Pair[] {
  return Rows.parse(parseCsv(file, { columns: true, bom: true })).map(({ text, category }) => ({
    prompt: `Query: ${text.trim()}\nIntent:`,
    answer: category.replaceAll('_', ' '),
  }))
}

export const banking77: Task = {
  title: 'banking77',
  score: 'labelAccuracy',
  conditions:
    '`Query: {text}\\nIntent:` → the category in words, one of 77; 1,600 of train.csv (2 to 33 a category) and 400 of test.csv, both drawn once for all runs',
  files: { train: 'banking77/train.csv', test: 'banking77/test.csv' },
  parse({ train, test }) {
    const rows = parse(train)
    const drawn = sample(rows, 1600 + devExamples)
    const held = sample(parse(test), 400)
    return {
      train: drawn.slice(0, 1600),
      dev: drawn.slice(1600),
      test: { likelihood: held, labels: held, answers: [] },
      choices: [...new Set(rows.map(({ answer }) => answer))].sort(),
    }
  },
}
