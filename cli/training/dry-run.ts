import type { LineProblem } from '../../training/data/jsonl.ts'
import { overlap, type Percentiles, survey } from '../../training/data/survey.ts'
import { CliFailure } from '../command/failure.ts'
import { note, print, printJson, printTable } from '../command/output.ts'
import type { TrainingData } from './training-data.ts'

const shownProblems = 20

/** Says what is in the data; throws when a line of it cannot be used. */
export function reportData(
  data: TrainingData,
  { window, json }: { window: number | undefined; json: boolean },
): void {
  const files = data.files.map(({ dataset, problems }) => ({
    file: dataset.name,
    problems,
    ...survey(dataset.examples, { window: window ?? Number.POSITIVE_INFINITY }),
  }))
  const report = {
    files,
    train: data.train.examples.length,
    dev: data.dev.examples.length,
    devInTrain: overlap({ train: data.train.examples, dev: data.dev.examples }),
  }
  if (json) printJson(report)
  else {
    for (const { file, problems, promptTokens, responseTokens, ...counts } of files) {
      print(file)
      printTable(
        ['', 'count'],
        [
          ['examples', String(counts.examples)],
          ['lines that cannot be used', String(problems.length)],
          ...(window === undefined
            ? []
            : [[`prompts longer than the window of ${window}`, String(counts.beyondWindow)]]),
          ['examples that repeat another', String(counts.duplicates)],
          ['prompts with several responses', String(counts.ambiguousPrompts)],
          ['different responses', String(counts.distinctResponses)],
        ],
      )
      printTable(
        ['tokens', 'least', 'median', '90 %', '99 %', 'most'],
        [
          ['prompt', ...columns(promptTokens)],
          ['response', ...columns(responseTokens)],
        ],
      )
    }
    print(
      `${report.train} to train on, ${report.dev} to measure on, ${report.devInTrain} of these with a prompt that is trained on`,
    )
  }
  refuse(files)
}

const columns = ({ least, median, p90, p99, most }: Percentiles) =>
  [least, median, p90, p99, most].map(String)

function refuse(files: readonly { file: string; problems: readonly LineProblem[] }[]): void {
  const all = files.flatMap(({ file, problems }) => problems.map((problem) => ({ file, ...problem })))
  if (all.length === 0) return
  for (const { file, line, problem } of all.slice(0, shownProblems)) note(`${file}, line ${line}: ${problem}`)
  if (all.length > shownProblems) note(`and ${all.length - shownProblems} more`)
  throw new CliFailure(`${all.length === 1 ? 'one line' : `${all.length} lines`} cannot be used`, {
    remedy: 'correct them or leave them out',
  })
}
