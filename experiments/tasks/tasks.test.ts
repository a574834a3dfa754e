import { expect, test } from 'vitest'
import { banking77 } from './banking77.ts'
import { e2e } from './e2e.ts'
import { orders } from './orders.ts'
import { sst2 } from './sst2.ts'
import { trec } from './trec.ts'

test('SST-2: tab-separated lines become reviews with a word for their label', () => {
  const {
    train,
    test: held,
    choices,
  } = sst2.parse({
    train: 'a joy , from start to finish\t1\nflat as a pancake\t0\n',
    test: 'fine\t1\r\n',
  })
  expect(train).toEqual([
    { prompt: 'Review: a joy , from start to finish\nSentiment:', answer: 'positive' },
    { prompt: 'Review: flat as a pancake\nSentiment:', answer: 'negative' },
  ])
  expect(held.labels).toEqual([{ prompt: 'Review: fine\nSentiment:', answer: 'positive' }])
  expect(choices).toEqual(['negative', 'positive'])
})

test('SST-2: a line without a label is named', () => {
  expect(() => sst2.parse({ train: 'good\t1\nno label here\n', test: '' })).toThrow('line 2')
})

test('TREC: the coarse class becomes a word, the fine one is dropped', () => {
  const { train } = trec.parse({ train: 'NUM:dist How far is the moon ?\nHUM:ind Who was it ?\n', test: '' })
  expect(train).toEqual([
    { prompt: 'Question: How far is the moon ?\nType:', answer: 'number' },
    { prompt: 'Question: Who was it ?\nType:', answer: 'human' },
  ])
  expect(() => trec.parse({ train: 'FOO:bar What ?\n', test: '' })).toThrow('line 1')
})

test('E2E: quoted fields and several references of one meaning representation', () => {
  const file =
    'mr,ref\n"name[Fox], area[riverside]","The Fox is ""by"" the river, they say."\n"name[Fox], area[riverside]",Fox: riverside.\n'
  const { train, test: held } = e2e.parse({ train: file, test: file })
  expect(train).toContainEqual({
    prompt: 'name[Fox], area[riverside]',
    answer: 'The Fox is "by" the river, they say.',
  })
  expect(held.answers.map(({ answer }) => answer)).toEqual([
    'The Fox is "by" the river, they say.',
    'Fox: riverside.',
  ])
  expect(held.likelihood).toHaveLength(2)
})

test('banking77: categories become words, and every one of them is a choice', () => {
  const { train, choices } = banking77.parse({
    train: 'text,category\nWhere is it?,card_arrival\n"Lost, I think",lost_or_stolen_card\n',
    test: 'text,category\nStill waiting,card_arrival\n',
  })
  expect(train).toContainEqual({ prompt: 'Query: Lost, I think\nIntent:', answer: 'lost or stolen card' })
  expect(choices).toEqual(['card arrival', 'lost or stolen card'])
})

test('a draw from a sorted file is the same for every run', () => {
  const rows = Array.from({ length: 2000 }, (_, i) => `question ${i},category_${Math.floor(i / 30)}`).join(
    '\n',
  )
  const files = { train: `text,category\n${rows}\n`, test: 'text,category\nx,y\n' }
  const { train } = banking77.parse(files)
  expect(train).toHaveLength(1600)
  expect(banking77.parse(files).train).toEqual(train)
  expect(new Set(train.slice(0, 200).map(({ answer }) => answer)).size).toBeGreaterThan(40)
})

test('orders: lines of prompt and completion, the held-out ones answered', () => {
  const line = '{"prompt": "A tea, please.", "completion": "{}"}\n'
  const { train, test: held } = orders.parse({ train: line, test: line })
  expect(train).toEqual([{ prompt: 'A tea, please.', answer: '{}' }])
  expect(held.answers).toEqual(train)
})

test('dev examples are training data that do not train', () => {
  const numbered = (count: number, line: (at: number) => string) =>
    Array.from({ length: count }, (_, at) => line(at)).join('\n')
  const files = {
    sst2: numbered(2000, (at) => `review ${at}\t1`),
    trec: numbered(2000, (at) => `NUM:dist question ${at}`),
    e2e: `mr,ref\n${numbered(2000, (at) => `meaning ${at},answer ${at}`)}`,
    banking77: `text,category\n${numbered(2000, (at) => `query ${at},category`)}`,
  }
  for (const [task, file] of [
    [sst2, files.sst2],
    [trec, files.trec],
    [e2e, files.e2e],
    [banking77, files.banking77],
  ] as const) {
    const { dev, train } = task.parse({ train: file, test: file })
    expect(dev).toHaveLength(200)
    expect(new Set([...dev, ...train].map(({ prompt }) => prompt)).size).toBe(dev.length + train.length)
  }
})
