import { expect, test } from 'vitest'
import type { AnswerForm } from '../../shared/api/structure.ts'
import { ownForm } from './own-form.ts'

const schema = (name: string): AnswerForm => ({
  type: 'json_schema',
  json_schema: { name, description: undefined, schema: { type: 'object' }, strict: false },
})

test('a model’s form is that of its alias, and a stack’s that of the one that has any', () => {
  expect(ownForm([{ forms: [] }])).toBeUndefined()
  expect(ownForm([{ forms: [schema('a')] }])).toEqual(schema('a'))
  expect(ownForm([{ forms: [schema('a'), schema('a')] }])).toEqual(schema('a'))
})

test.each([
  ['two of a stack', [{ forms: [schema('a'), schema('b')] }]],
  ['two models', [{ forms: [schema('a')] }, { forms: [schema('b')] }]],
  ['one of two models', [{ forms: [schema('a')] }, { forms: [] }]],
])('forms that do not agree are refused, with the remedy: %s', (_name, models) => {
  expect(() => ownForm(models)).toThrow(/response_format.*different forms.*"text"/)
})
