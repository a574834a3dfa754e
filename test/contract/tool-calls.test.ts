import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, describe, expect, test } from 'vitest'
import { AnswerCalls } from '../../edge/tools/answer-calls.ts'
import { joined } from '../../edge/tools/answered.ts'
import { type ToolFormat, toolFormatNamed } from '../../edge/tools/tool-format.ts'
import { formOrCalls, type HeldCalls, onlyCalls, textWithCalls } from '../../edge/tools/tool-grammar.ts'
import { Grammars } from '../../gpu-node/grammar/grammars.ts'
import { vocabularyOf } from '../../gpu-node/grammar/vocabulary.ts'
import { parseTokenizer } from '../../model/import/tokenizer.ts'
import { Random } from '../../shared/prng.ts'
import type { Grammar } from '../../shared/wire.ts'
import { byteIds, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'

/** Answers are drawn at random under grammars of calls. They must be read as calls whose arguments validate. */

const vocab = 320
const { endOfText } = tinySpecials
const vocabulary = vocabularyOf(parseTokenizer(tinyTokenizer), { vocab, eos: [endOfText] })
if (vocabulary === undefined) throw new Error('the tiny tokenizer spells bytes')
const grammars = new Grammars({ vocabulary, workers: 1, checkMs: 60_000, compileMs: 60_000 })
afterAll(() => grammars.close())

const parameters = {
  type: 'object',
  properties: { city: { type: 'string', maxLength: 4 }, days: { enum: [1, 10, 23] } },
  required: ['city', 'days'],
  additionalProperties: false,
}
const functions = [
  { name: 'weather', description: undefined, strict: true, parameters },
  { name: 'weather-now', description: undefined, strict: true, parameters: undefined },
]
const ajv = new Ajv2020()
const validate = ajv.compile(parameters)

const held = (name: ToolFormat['name'], options: Partial<HeldCalls> = {}): HeldCalls => ({
  format: toolFormatNamed(name),
  functions,
  paramOf: () => 'tools',
  isMany: true,
  isMarkerSpecial: false,
  ...options,
})

/** A text that a grammar allows: begins with `start`, ends as soon as it may from then on. */
async function drawn(
  grammar: Grammar,
  { seed, start = '' }: { seed: number; start?: string },
): Promise<string> {
  const session = await grammars.open(grammar, { stopTokens: [endOfText] })
  const random = new Random(seed)
  const ids: number[] = []
  const front = byteIds(start)
  try {
    for (let at = 0; at < 300; at++) {
      await session.settled(20_000)
      expect(session.status).toBe('open')
      const open = Array.from({ length: vocab }, (_, id) => id).filter(
        (id) => (((session.mask[id >>> 5] ?? 0) >>> (id & 31)) & 1) === 1,
      )
      const asked = front[at]
      if (asked !== undefined) expect(open).toContain(asked)
      else if (open.includes(endOfText)) return new TextDecoder().decode(Uint8Array.from(ids))
      const closing = open.filter((id) => id === 0x22 || id === 0x5d || id === 0x7d)
      const from = closing.length > 0 && random.next() < 0.4 ? closing : open
      const id = asked ?? from[Math.floor(random.next() * from.length)] ?? 0
      ids.push(...(vocabulary?.tokens[id]?.length === 1 ? [id] : byteIds(vocabulary?.tokens[id] ?? '')))
      session.accept(id)
    }
  } finally {
    session.close()
  }
  throw new Error(`no end of ${JSON.stringify(String.fromCharCode(...ids))}`)
}

function callsIn(name: ToolFormat['name'], text: string) {
  const offered = new Set(functions.map((each) => each.name))
  const reader = new AnswerCalls({
    format: toolFormatNamed(name),
    offered,
    isParallel: true,
    isExact: true,
    isHeld: true,
  })
  return joined([...[...text].flatMap((character) => reader.push(character)), ...reader.finish()])
}

function expectValid(calls: readonly { name: string; arguments: string }[]): void {
  expect(calls.length).toBeGreaterThan(0)
  for (const call of calls) {
    const given: unknown = JSON.parse(call.arguments)
    if (call.name === 'weather') expect([call, validate(given)]).toEqual([call, true])
    else expect(given).toEqual({})
  }
}

const formats = ['hermes', 'llama3-json', 'mistral', 'granite', 'phi-4', 'json'] as const

describe.each(formats)('in the format %s', (name) => {
  const [marker = ''] = toolFormatNamed(name).markers

  test('an answer that must call calls, with arguments that validate', async () => {
    for (let seed = 0; seed < 4; seed++) {
      const text = await drawn(onlyCalls(held(name)), { seed })
      const { calls, text: besides } = callsIn(name, text)
      expect(besides).toBe('')
      expectValid(calls)
    }
  })

  test('one that may call keeps to the schemas once it does', async () => {
    const start = name === 'llama3-json' || name === 'json' ? '{"name": "weather' : `Hm: ${marker}`
    for (let seed = 0; seed < 4; seed++) {
      const text = await drawn(textWithCalls(held(name)), { seed, start })
      expectValid(callsIn(name, text).calls)
    }
    expect(await drawn(textWithCalls(held(name)), { seed: 1, start: 'No call.' })).toBe('No call.')
  })

  test('a special marker stands in front of what the grammar is of', async () => {
    const special = held(name, { isMarkerSpecial: true })
    for (const grammar of [onlyCalls(special), textWithCalls(special)])
      expectValid(callsIn(name, `${marker}${await drawn(grammar, { seed: 5 })}`).calls)
  })

  test('besides a form it is either the form or calls', async () => {
    const grammar = formOrCalls({ kind: 'regex', pattern: '[0-9]{2}' }, held(name))
    const texts = await Promise.all(Array.from({ length: 6 }, (_, seed) => drawn(grammar, { seed })))
    for (const text of texts) if (!/^[0-9]{2}$/.test(text)) expectValid(callsIn(name, text).calls)
  })
})
