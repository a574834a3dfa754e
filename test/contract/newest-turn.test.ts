import { expect, test } from 'vitest'
import type { Turn } from '../../shared/tokenizer/conversation.ts'
import {
  answered,
  asked,
  called,
  families,
  joinsSystem,
  next,
  openFamily,
  refusesSystem,
  system,
} from './template-families.ts'

/** Where the newest turn of a conversation begins, by the templates that models come with. */

test.for(families)(
  '%s: what the assistant said last, and all in front of it, stand in front of the newest turn',
  ([name, opening]) => {
    const { parted } = openFamily(name)
    const talk = [asked, answered, next]
    for (const turns of refusesSystem(name) ? [talk] : [talk, [system, ...talk]]) {
      const [front, newest] = parted(turns)
      expect(front).toContain('Yes it is.')
      expect(newest.startsWith(`${opening}Since when?`), newest).toBe(true)
    }
  },
)

test.for(families)(
  '%s: of a first turn, the system message alone stands in front, and nothing without one',
  ([name, opening]) => {
    const { parted } = openFamily(name)
    expect(parted([asked])[0]).toBe('')
    if (refusesSystem(name)) return
    const [front, newest] = parted([system, asked])
    if (joinsSystem(name)) expect(front).toBe('')
    else {
      expect(front).toContain('Be short.')
      expect(newest.startsWith(`${opening}Is it up?`), newest).toBe(true)
    }
  },
)

test.for(families)('%s: the beginning of an answer is a part of the newest turn', ([name, opening]) => {
  const { parted } = openFamily(name)
  const beginning: Turn = { role: 'assistant', content: 'Since Mon' }
  const [front, newest] = parted([asked, answered, next, beginning], { end: 'within' })
  expect(front).toContain('Yes it is.')
  expect(newest.startsWith(`${opening}Since when?`), newest).toBe(true)
  expect(newest.endsWith('Since Mon')).toBe(true)
  expect(parted([asked, beginning], { end: 'within' })[0]).toBe('')
})

test.for(families)('%s: results of calls are the newest turn, the calls stand in front', ([name]) => {
  const { parted } = openFamily(name)
  const [front, newest] = parted(called, { functions: true })
  expect(front).toContain('Ulm')
  expect(front).toContain('Tells the weather.')
  expect(newest).toContain('seven degrees')
  expect(newest).not.toContain('Ulm')
})

test('a conversation that ends with the assistant has the generation header, or its last turn, as the newest', () => {
  const { parted } = openFamily('smollm2')
  expect(parted([asked, answered])[1]).toBe('<|im_start|>assistant\n')
  // Nothing is left for the newest turn where a template opens no answer.
  expect(openFamily('llama-2').parted([asked, answered])[0]).toBe('')
  expect(parted([asked, answered, next, answered], { end: 'message' })[1]).toMatch(
    /^<\|im_start\|>user\nSince when/,
  )
})
