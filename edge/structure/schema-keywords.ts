import { z } from 'zod'

export const SchemaObject = z.record(z.string(), z.unknown())
export type SchemaObject = z.infer<typeof SchemaObject>

/** Keywords that speak to people and change no meaning. */
export const annotations = [
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  '$schema',
  '$id',
  '$comment',
]

/** Keywords that hold schemas for `$ref` to name. */
export const definitions = ['$defs', 'definitions']

/** The keywords that go with each type. */
export const byType: Readonly<Record<string, readonly string[]>> = {
  object: ['properties', 'required', 'additionalProperties', 'minProperties', 'maxProperties'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  boolean: [],
  null: [],
}

/** How to do without the keywords that are refused. */
export const instead: Readonly<Record<string, string>> = {
  oneOf: 'use anyOf',
  allOf: 'write the parts into one schema',
  not: 'say what is allowed instead',
  multipleOf: 'use minimum and maximum, or an enum',
  uniqueItems: 'check it in the answer',
  patternProperties: 'use properties',
}
