import { expect, test } from 'vitest'
import { checkedSchema } from './json-schema.ts'

const checked = (schema: unknown) => checkedSchema(schema, { isStrict: false, param: 'schema' })

const many = (count: number, entry: (at: number) => object) =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`d${at}`, entry(at)]))

test('a schema whose references lead on and on is read in time: each step of the chain is gone once', () => {
  const last = 3_999
  const $defs = many(last + 1, (at) => (at === last ? { type: 'string' } : { $ref: `#/$defs/d${at + 1}` }))
  expect(checked({ $ref: '#/$defs/d0', $defs })).toMatchObject({ $ref: '#/$defs/d0', $defs })
})

test('a circle of references is refused wherever it is entered', () => {
  const $defs = { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/c' }, c: { $ref: '#/$defs/b' } }
  expect(() => checked({ $ref: '#/$defs/a', $defs })).toThrow(/points to itself/)
})

test('a reference behind one that leads somewhere is followed itself', () => {
  const $defs = { a: { $ref: '#/$defs/b' }, b: { type: 'null' }, c: { $ref: '#/$defs/none' } }
  expect(() => checked({ $ref: '#/$defs/a', $defs })).toThrow('schema.$defs.c.$ref: points to nothing')
})

test('a type that is named twice counts once, at every depth', () => {
  let nested: object = { type: ['string', 'string'] }
  for (let depth = 0; depth < 31; depth++) nested = { type: ['array', 'array'], items: nested }
  expect(JSON.stringify(checked(nested))).toBe(
    `${'{"type":"array","items":'.repeat(31)}{"type":"string"}${'}'.repeat(31)}`,
  )
})

test('ranges of integers that are too many to write out are refused where they become too many', () => {
  const range = { type: 'integer', minimum: 0, maximum: 999 }
  const properties = (count: number) => ({ type: 'object', properties: many(count, () => range) })
  expect(checked(properties(20))).toMatchObject({ type: 'object' })
  expect(() => checked(properties(2_000))).toThrow(
    'schema.properties.d20: bounds leave more than 20000 integers in all',
  )
})

test('long lists of properties and of required ones are compared in time', () => {
  const properties = many(5_000, () => ({ type: 'null' }))
  const required = Array.from({ length: 60_000 }, (_, at) => `d${4_999 - (at % 5_000)}`)
  expect(checked({ type: 'object', properties, required })).toMatchObject({
    required: required.slice(0, 5_000),
  })
})
