import { expect, test } from 'vitest'
import { type PromptEncoder, promptFormatOf } from '../../shared/training/prompt-encoder.ts'
import { parseDataset } from '../data/dataset.ts'
import { questionsOf } from './questions.ts'

/** A token per UTF-16 unit. */
const ids = (text: string) => [...text].map((letter) => letter.charCodeAt(0))
const encoder: PromptEncoder = {
  conversation: (messages) => ids(messages.map(({ content }) => content).join('|')),
  turnOf: () => 0,
  tailOf: () => undefined,
  prompt: ids,
  answer: ids,
}

test('a sample shows its question whatever white space stands around its line', () => {
  const row = (prompt: string) => JSON.stringify({ prompt, completion: 'x' })
  const file = new TextEncoder().encode(
    `\ufeff\ufeff${row('first')}\n\u00a0${row('second')}\u2003\n\ufeff\ufeff${row('third')}\u2028\r\n`,
  )
  const { dataset, problems } = parseDataset(file, { name: 'file', encoder, prompts: 'raw', room: 100 })
  expect(problems).toEqual([])
  const questions = questionsOf(file, { all: dataset.examples, asked: dataset.examples })
  expect(dataset.examples.map((example) => questions.get(example))).toEqual(['first', 'second', 'third'])
})

test('a sample shows the question as the file has it, of each answer of a conversation its own', () => {
  const talk = ['first?', 'one', 'second?', 'two'].map((content, at) => ({
    role: at % 2 === 0 ? 'user' : 'assistant',
    content,
  }))
  const text = `\n{"prompt":"plain","completion":"x"}\n${JSON.stringify({ messages: talk })}`
  const file = new TextEncoder().encode(text)
  const prompts = promptFormatOf({ chat: { template: 'any' } })
  const { dataset } = parseDataset(file, { name: 'file', encoder, prompts, room: 100 })
  const { examples } = dataset
  const questions = questionsOf(file, { all: examples, asked: examples })
  expect(examples.map((example) => questions.get(example))).toEqual(['plain', 'first?', 'second?'])
})
