import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { grammarOf } from '../../edge/structure/grammar.ts'
import { checkedSchema } from '../../edge/structure/json-schema.ts'
import type { GrammarSession } from '../../gpu-node/grammar/grammar-session.ts'
import { Grammars } from '../../gpu-node/grammar/grammars.ts'
import { vocabularyOf } from '../../gpu-node/grammar/vocabulary.ts'
import { parseTokenizer } from '../../model/import/tokenizer.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import type { Grammar } from '../../shared/wire.ts'
import { schema, tree } from '../fakes/json-schemas.ts'
import { tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'

/** Single bytes are tokens of this vocabulary: a character takes several, and each mask may end within one. */
const vocab = 320
const { endOfText } = tinySpecials
const tokenizer = parseTokenizer(tinyTokenizer)
const vocabulary = vocabularyOf(tokenizer, { vocab, eos: [endOfText] })
if (vocabulary === undefined) throw new Error('the tiny tokenizer spells bytes')
const grammars = new Grammars({ vocabulary, workers: 1 })
afterAll(() => grammars.close())

const codec = TextCodec.compile(tinyTokenizer)

const allowed = ({ mask }: GrammarSession) =>
  Array.from({ length: vocab }, (_, id) => id).filter(
    (id) => (((mask[id >>> 5] ?? 0) >>> (id & 31)) & 1) === 1,
  )

/** Draws tokens from all that the grammar allows alike, as a model at an endless temperature does. */
async function draw(grammar: Grammar, { random, most = 600 }: { random: () => number; most?: number }) {
  const session = await grammars.open(grammar, { stopTokens: [endOfText] })
  const ids: number[] = []
  try {
    for (;;) {
      await session.settled(10_000)
      expect(session.status).toBe('open')
      const open = allowed(session)
      expect(open.length).toBeGreaterThan(0)
      // A text of nothing but chance would seldom end.
      const id = open.includes(endOfText) ? endOfText : pick(open, random)
      if (id === endOfText) return { text: text(ids), isWhole: true }
      ids.push(id)
      if (ids.length === most) return { text: text(ids), isWhole: false }
      session.accept(id)
    }
  } finally {
    session.close()
  }
}

/** Quotes and brackets that close are taken more often than their share among 256 bytes. */
function pick(ids: readonly number[], random: () => number): number {
  const closing = ids.filter((id) => id === 0x22 || id === 0x5d || id === 0x7d)
  const from = closing.length > 0 && random() < 0.3 ? closing : ids
  return from[Math.floor(random() * from.length)] ?? 0
}

const text = (ids: readonly number[]) =>
  new TextDecoder('utf-8', { fatal: false }).decode(
    Uint8Array.from(ids.flatMap((id) => [...codec.vocabulary.bytes(id)])),
  )

function seeded(seed: number) {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

describe('an answer under a JSON schema', () => {
  test('parses and validates whenever it is whole, whatever is drawn', async () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false })
    let whole = 0
    await fc.assert(
      fc.asyncProperty(schema, fc.integer(), async (generated, seed) => {
        const root = { $defs: { tree }, anyOf: [generated] }
        const grammar: Grammar = {
          kind: 'json_schema',
          schema: JSON.stringify(checkedSchema(root, { isStrict: false, param: 'schema' })),
        }
        const drawn = await draw(grammar, { random: seeded(seed) })
        if (!drawn.isWhole) return
        whole += 1
        const value: unknown = JSON.parse(drawn.text)
        const isValid = ajv.validate(root, value)
        if (!isValid) throw new Error(`${drawn.text} is not of ${JSON.stringify(root)}: ${ajv.errorsText()}`)
      }),
      { numRuns: 300 },
    )
    expect(whole).toBeGreaterThan(200)
  })

  test('is any object for json_object', async () => {
    const grammar = grammarOf({ ...nothing, response_format: { type: 'json_object' } })
    if (grammar === undefined) throw new Error('a grammar is asked for')
    for (let seed = 0; seed < 20; seed++) {
      const { isWhole, text: drawn } = await draw(grammar, { random: seeded(seed) })
      if (isWhole) expect(JSON.parse(drawn)).toBeTypeOf('object')
    }
  })
})

const nothing = {
  response_format: undefined,
  guided_json: undefined,
  guided_regex: undefined,
  guided_choice: undefined,
  guided_grammar: undefined,
  structured_outputs: undefined,
  min_tokens: 0,
}

test('one of the choices is drawn, whatever characters they have', async () => {
  const choices = ['ja', 'nein "vielleicht"', '\\n', 'a\tb', '😀', '[x]-^']
  const grammar = grammarOf({ ...nothing, guided_choice: choices })
  if (grammar === undefined) throw new Error('a grammar is asked for')
  const drawn = new Set<string>()
  for (let seed = 0; seed < 60; seed++) drawn.add((await draw(grammar, { random: seeded(seed * 7919) })).text)
  expect([...drawn].filter((each) => !choices.includes(each))).toEqual([])
  expect(drawn.size).toBeGreaterThan(3)
})

test('a regex and a grammar are kept to', async () => {
  const regex = grammarOf({ ...nothing, guided_regex: '[0-9]{3}-[a-f]+' })
  const ebnf = grammarOf({ ...nothing, guided_grammar: 'root ::= "(" root ")" | "x"' })
  if (regex === undefined || ebnf === undefined) throw new Error('a grammar is asked for')
  for (let seed = 0; seed < 20; seed++) {
    expect((await draw(regex, { random: seeded(seed) })).text).toMatch(/^[0-9]{3}-[a-f]+$/)
    expect((await draw(ebnf, { random: seeded(seed) })).text).toMatch(/^\(*x\)*$/)
  }
})

test.each([
  [{ kind: 'ebnf', grammar: 'root ::= nowhere' }, /"nowhere" is not defined/],
  [{ kind: 'regex', pattern: '[a-' }, /Unclosed/],
  [{ kind: 'regex', pattern: 'x[\\^a]' }, /put the \^ behind another character/],
  [{ kind: 'ebnf', grammar: 'root ::= [\\x5ea]' }, /put the \^ behind another character/],
  [{ kind: 'json_schema', schema: '{"type":"strange"}' }, /strange/],
] as const)(
  'a grammar that cannot be compiled is refused with the reason, and others go on: %j',
  async (grammar, why) => {
    const going = await grammars.open({ kind: 'regex', pattern: 'a+' }, { stopTokens: [endOfText] })
    await expect(grammars.open(grammar, { stopTokens: [] })).rejects.toMatchObject({
      code: 'grammar_invalid',
      message: expect.stringMatching(why),
    })
    await going.settled(10_000)
    expect(going.status).toBe('open')
    going.close()
  },
)

test('a grammar that takes too long ends its own request alone: texts go on, and others’ grammars are taken', async () => {
  const own = new Grammars({ vocabulary, workers: 1, compileMs: 1_500 })
  try {
    const going = await own.open({ kind: 'regex', pattern: 'b+' }, { stopTokens: [endOfText] })
    const slow = 'a?'.repeat(3_000)
    const [first, second, innocent] = await Promise.allSettled([
      own.open({ kind: 'regex', pattern: slow }, { stopTokens: [endOfText], owner: 'slow' }),
      own.open({ kind: 'regex', pattern: `${slow}b` }, { stopTokens: [endOfText], owner: 'slow' }),
      own.open({ kind: 'regex', pattern: 'c+' }, { stopTokens: [endOfText], owner: 'innocent' }),
    ])
    for (const refused of [first, second])
      expect(refused).toMatchObject({ reason: { code: 'grammar_invalid', message: /longer than 1.5 s/ } })
    if (innocent.status === 'rejected') throw innocent.reason
    await innocent.value.settled(10_000)
    expect(innocent.value.status).toBe('open')
    await going.settled(10_000)
    going.accept(0x62)
    await going.settled(10_000)
    expect(going.status).toBe('open')
    expect(allowed(going)).toContain(0x62)
  } finally {
    await own.close()
  }
})

test('without stop tokens a text is complete where the grammar is', async () => {
  const session = await grammars.open({ kind: 'regex', pattern: '[0-9]{2}' }, { stopTokens: [] })
  for (const status of ['open', 'open', 'complete']) {
    await session.settled(10_000)
    expect(session.status).toBe(status)
    session.accept(0x31)
  }
  session.close()
})

describe('a schema is refused by its keyword’s place:', () => {
  const deep = (depth: number): object =>
    depth === 0 ? { type: 'null' } : { type: 'array', items: deep(depth - 1) }
  test.each([
    [{ type: 'object', properties: { a: { oneOf: [] } } }, 's.properties.a.oneOf', /use anyOf/],
    [
      { $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' },
      's.$defs.a.$ref',
      /itself/,
    ],
    [{ $ref: '#/$defs/none' }, 's.$ref', /points to nothing/],
    [{ $ref: 'http://example.com/schema' }, 's.$ref', /into this schema/],
    [{ enum: Array.from({ length: 10_000 }, (_, at) => at) }, 's.enum', /more than 1000 values/],
    [{ type: 'string', pattern: 'a', minLength: 2 }, 's.pattern', /does not go with/],
    [{ type: 'object', required: ['a'] }, 's.required', /which properties does not have/],
    [{ type: 'strange' }, 's.type', /must be one of/],
    [{ type: 'string', enum: [1] }, 's.enum', /not of the type/],
    [deep(40), undefined, /nested more than 32 deep/],
    [{ type: 'string', pattern: 'a"' }, 's.pattern', /JSON writes in another way/],
    [{ type: 'string', pattern: '[!-~]' }, 's.pattern', /JSON writes in another way/],
    [{ type: 'integer', multipleOf: 3 }, 's.multipleOf', /enum/],
  ])('case %#', (value, param, message) => {
    expect(() => checkedSchema(value, { isStrict: false, param: 's' })).toThrow(
      expect.objectContaining({
        code: 'grammar_invalid',
        message: expect.stringMatching(message),
        ...(param === undefined ? {} : { param }),
      }),
    )
  })

  test.each([
    [
      { type: 'object', properties: { a: {} }, required: ['a'] },
      /additionalProperties: strict: must be false/,
    ],
    [
      { type: 'object', properties: { a: {}, b: {} }, required: ['a'], additionalProperties: false },
      /must name every property; "b"/,
    ],
    [{ type: 'array', items: {} }, /outermost type must be object/],
  ])('strict, as at OpenAI: %j', (value, message) => {
    expect(() => checkedSchema(value, { isStrict: true, param: 's' })).toThrow(message)
  })
})

test('two forms at once are refused', () => {
  expect(() => grammarOf({ ...nothing, guided_regex: 'a', guided_choice: ['b'] })).toThrow(
    /guided_regex gives it already/,
  )
})
