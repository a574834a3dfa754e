import { devExamples, type Pair, type Task } from './task.ts'

const answers: Readonly<Record<string, string>> = { '0': 'negative', '1': 'positive' }

/** Lines `text<TAB>label`; 1 is positive. */
function parse(file: string): readonly Pair[] {
  return file
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line, at) => {
      const [text = '', label = ''] = line.trimEnd().split('\t')
      const answer = answers[label]
      if (answer === undefined) throw new Error(`line ${at + 1} has the label “${label}” and not 0 or 1`)
      return { prompt: `Review: ${text}\nSentiment:`, answer }
    })
}

export const sst2: Task = {
  title: 'SST-2',
  score: 'labelAccuracy',
  conditions:
    '`Review: {text}\\nSentiment:` → `positive` or `negative`; the first 1,600 of train.tsv, the first 400 of test.tsv',
  files: { train: 'sst2/train.tsv', test: 'sst2/test.tsv' },
  parse({ train, test }) {
    const held = parse(test).slice(0, 400)
    const rows = parse(train)
    return {
      train: rows.slice(0, 1600),
      dev: rows.slice(1600, 1600 + devExamples),
      test: { likelihood: held, labels: held, answers: [] },
      choices: Object.values(answers),
    }
  },
}
