import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CliFailure } from '../cli/command/failure.ts'
import { servingEncoder } from '../cli/tokenizer/serving-encoder.ts'
import type { Backbone } from '../model/backbone/backbone-folder.ts'
import type { ChatMessage } from '../shared/api/chat-completions.ts'
import { placesIn, type ServingEncoder } from '../shared/training/prompt-encoder.ts'
import type { Example } from '../training/data/example.ts'
import type { Alternative, MeasuredPart } from '../training/evaluation/measure.ts'
import type { Pair, Task, TaskData } from './tasks/task.ts'

/** A task in token ids of a backbone. */
export interface PreparedTask {
  readonly train: readonly Example[]
  readonly dev: readonly Example[]
  readonly test: { readonly [P in MeasuredPart]: readonly Example[] }
  readonly choices: readonly Alternative[]
  /** Tokens of the backbone's generation header, which stand behind late rows. */
  readonly header: number
}

/** Reads a task's files and tokenizes them as requests to a tuned model are. Throws that names the files at fault. */
export async function prepareTask(
  task: Task,
  { folder, backbone, tests }: { folder: string; backbone: Backbone; tests: number | undefined },
): Promise<PreparedTask> {
  const encoder = await servingEncoder(backbone)
  const { train, dev, test, choices } = await readTask(task, folder)
  const isChat = backbone.manifest.chat.template !== ''
  const tokenized = (pairs: readonly Pair[]) =>
    pairs.map((pair) => tokenize(pair, { encoder, isChat, system: task.system }))
  const likelihood = tokenized(test.likelihood.slice(0, tests))
  return {
    train: tokenized(train),
    dev: tokenized(dev.slice(0, tests)),
    test: {
      likelihood,
      labels: test.labels === test.likelihood ? likelihood : tokenized(test.labels.slice(0, tests)),
      answers: tokenized(test.answers.slice(0, tests)),
    },
    choices: choices.map((text) => ({ text, tokens: encoder.answer(text) })),
    header: encoder.generationHeader,
  }
}

export async function readTask(task: Task, folder: string): Promise<TaskData> {
  const paths = { train: join(folder, task.files.train), test: join(folder, task.files.test) }
  const [train, test] = [await readFile(paths.train, 'utf8'), await readFile(paths.test, 'utf8')]
  try {
    return task.parse({ train, test })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new CliFailure(`${paths.train} or ${paths.test}: ${reason}`, { cause })
  }
}

/** A backbone without a chat template reads the prompt as a line of text. */
function tokenize(
  { prompt, answer }: Pair,
  { encoder, isChat, system }: { encoder: ServingEncoder; isChat: boolean; system: string | undefined },
): Example {
  const response = encoder.answer(answer)
  if (!isChat) return { instruction: encoder.prompt(`${prompt}\n`), response }
  const messages: ChatMessage[] = [
    ...(system === undefined ? [] : [{ role: 'system', content: system, name: undefined } as const]),
    { role: 'user', content: prompt, name: undefined },
  ]
  const instruction = encoder.conversation(messages)
  return { instruction, response, ...placesIn(messages, { encoder, ids: instruction }) }
}
