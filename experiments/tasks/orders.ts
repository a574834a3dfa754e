import { z } from 'zod'
import type { Pair, Task } from './task.ts'

const Line = z.object({ prompt: z.string(), completion: z.string() })

function parse(file: string): readonly Pair[] {
  return file
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const { prompt, completion } = Line.parse(JSON.parse(line))
      return { prompt, answer: completion }
    })
}

/** The demo's data: an order in free words, and the same as a line of JSON. */
export const orders: Task = {
  title: 'Orders of the demo',
  score: 'exactMatch',
  conditions:
    'an order in free words → one line of JSON; the 201 of demo/orders.train.jsonl, the 50 of demo/orders.heldout.jsonl',
  files: { train: 'orders.train.jsonl', test: 'orders.heldout.jsonl' },
  parse({ train, test }) {
    const held = parse(test)
    return {
      train: parse(train),
      dev: [],
      test: { likelihood: held, labels: [], answers: held },
      choices: [],
    }
  },
}
