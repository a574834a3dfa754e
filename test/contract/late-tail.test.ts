import { expect, test } from 'vitest'
import type { Turn } from '../../shared/tokenizer/conversation.ts'
import { answered, asked, called, families, next, openFamily } from './template-families.ts'

/** The text behind late rows: the generation header as the template writes it, and what is given of the answer. */

const talk = [asked, answered, next]
const beginning: Turn = { role: 'assistant', content: 'Since Mon' }

/** Families that write more into the header where a request switches thinking off. */
const unthinking: Readonly<Record<string, string>> = {
  smollm3: '<think>\n\n</think>\n',
  qwen3: '<think>\n\n</think>\n\n',
}
/** Some of them write an empty thought in front of an answer that is the last message, whatever the request says. */
const thoughtOf = (name: string) => (name === 'qwen3' ? unthinking[name] : '')

/** It writes no header behind a last message of the assistant. */
const opensBehindAnswer = (name: string) => name !== 'qwen2'
/** They take no conversation that the assistant begins. */
const userBegins = (name: string) => name === 'gemma-2' || name === 'gemma-3'

test.for(families)('%s: exactly the generation header stands behind the rows', ([name, , header]) => {
  const { aroundRows } = openFamily(name)
  const [front, behind] = aroundRows(talk)
  expect(behind).toBe(header)
  expect(front).toContain('Since when?')
  const [all, opened] = aroundRows(talk.slice(0, 2))
  if (opensBehindAnswer(name)) expect(opened, 'behind an answer').toBe(header)
  else expect(all + opened).not.toContain(`Yes it is.${header}`)
  const functions = { functions: true }
  expect(aroundRows(talk, functions)[1], 'with functions').toBe(header)
  expect(aroundRows(called, functions)[1], 'behind a result').toBe(header)
})

test.for(families)('%s: the header is that which the request’s settings write', ([name, , header]) => {
  const { aroundRows } = openFamily(name)
  const settings = { enable_thinking: false }
  const [front, behind] = aroundRows(talk, { settings })
  expect(behind).toBe(`${header}${unthinking[name] ?? ''}`)
  expect(front).toContain('Since when?')
  expect(aroundRows(talk, { settings: { enable_thinking: true } })[1]).toBe(header)
  // A setting that the template does not read moves nothing.
  expect(aroundRows(talk, { settings: { unread: 'yes' } })[1]).toBe(header)
})

test('the header is that which a message of the conversation changes it to: /no_think of SmolLM3’s system message', () => {
  const { aroundRows } = openFamily('smollm3')
  const header = '<|im_start|>assistant\n'
  const quick: Turn = { role: 'system', content: 'Be short. /no_think' }
  const [front, behind] = aroundRows([quick, ...talk])
  expect(behind).toBe(`${header}${unthinking.smollm3}`)
  expect(front).toContain('Since when?')
  expect(aroundRows([quick, ...called], { functions: true })[1]).toBe(`${header}${unthinking.smollm3}`)
  expect(aroundRows([{ role: 'system', content: 'Be short. /think' }, ...talk])[1]).toBe(header)
})

test.for(families)(
  '%s: a call that must come begins behind the header, and both stand behind the rows',
  ([name, , header]) => {
    const { aroundRows } = openFamily(name)
    for (const turns of [talk, called]) {
      const [front, behind] = aroundRows(turns, { functions: true, opening: '<tool_call>' })
      expect(behind).toBe(`${header}<tool_call>`)
      expect(front).toContain(turns === called ? 'seven degrees' : 'Since when?')
    }
  },
)

test.for(families)(
  '%s: the beginning of an answer stands behind the header, and both behind the rows',
  ([name, , header]) => {
    const { aroundRows } = openFamily(name)
    const functions = { functions: true, end: 'within' } as const
    for (const [turns, options] of [
      [talk, { end: 'within' }],
      [[asked], { end: 'within' }],
      [talk, functions],
      [called, functions],
    ] as const) {
      const [front, behind] = aroundRows([...turns, beginning], options)
      expect(behind).toBe(`${header}${thoughtOf(name)}Since Mon`)
      expect(front).toContain(turns === called ? 'seven degrees' : turns.at(-1)?.content)
    }
    const settings = { enable_thinking: false }
    expect(aroundRows([...talk, beginning], { end: 'within', settings })[1]).toBe(
      `${header}${unthinking[name] ?? ''}Since Mon`,
    )
  },
)

test.for(families.filter(([name]) => !userBegins(name)))(
  '%s: a beginning that is the whole conversation stands behind the rows with all that the template writes',
  ([name]) => {
    const [front, behind] = openFamily(name).aroundRows([beginning], { end: 'within' })
    expect(front).toBe('')
    expect(behind.endsWith('Since Mon')).toBe(true)
  },
)

test.for(families)(
  '%s: without a header the rows stand in front of as many of the prompt’s last tokens',
  ([name, , header]) => {
    const { aroundRows } = openFamily(name)
    const [front, behind] = aroundRows(talk, { end: 'message' })
    const whole = front + behind
    expect(whole).toContain('Since when?')
    expect(whole.endsWith(header)).toBe(false)
    expect(behind.length).toBeGreaterThan(0)
  },
)
