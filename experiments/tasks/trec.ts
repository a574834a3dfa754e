import { devExamples, type Pair, type Task } from './task.ts'

const answers: Readonly<Record<string, string>> = {
  ABBR: 'abbreviation',
  DESC: 'description',
  ENTY: 'entity',
  HUM: 'human',
  LOC: 'location',
  NUM: 'number',
}

/** Lines `COARSE:fine question`. */
function parse(file: string): readonly Pair[] {
  return file
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line, at) => {
      const match = /^([A-Z]+):\S+ (.+)$/.exec(line.trimEnd())
      const answer = answers[match?.[1] ?? '']
      if (match?.[2] === undefined || answer === undefined)
        throw new Error(`line ${at + 1} is not “COARSE:fine question” with one of the six coarse classes`)
      return { prompt: `Question: ${match[2]}\nType:`, answer }
    })
}

export const trec: Task = {
  title: 'TREC',
  score: 'labelAccuracy',
  conditions:
    '`Question: {text}\\nType:` → one of six words; the first 1,600 of tonyz_train.txt, the first 400 of tonyz_test.txt',
  files: { train: 'trec/tonyz_train.txt', test: 'trec/tonyz_test.txt' },
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
