import fc from 'fast-check'
import type { Document } from '../../../edge/openapi/document.ts'
import type { Schema } from '../../../edge/openapi/json-schema.ts'

/** Values by the name of the field or parameter that takes them (a path's parameter may have its operation's id in front): what exists, so that requests get far. */
export type Hints = Readonly<Record<string, readonly unknown[]>>

export interface SchemaSource {
  readonly schemas: Document['components']['schemas']
  readonly hints: Hints
}

const maxDepth = 6
const maxEntries = 4
const anyJson = fc.jsonValue({ maxDepth: 2 })

/** Values that a JSON Schema of the document allows, as far as a schema can say. */
export function valuesOf(schema: Schema | boolean, source: SchemaSource, depth = 0): fc.Arbitrary<unknown> {
  if (typeof schema === 'boolean') return anyJson
  if (schema.$ref !== undefined) {
    const name = schema.$ref.slice(schema.$ref.lastIndexOf('/') + 1)
    return valuesOf(source.schemas[name] ?? {}, source, depth + 1)
  }
  if (schema.const !== undefined) return fc.constant(schema.const)
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum)
  const choices = schema.anyOf ?? schema.oneOf
  if (choices !== undefined) return fc.oneof(...choices.map((choice) => valuesOf(choice, source, depth + 1)))
  const types = Array.isArray(schema.type) ? schema.type : [schema.type]
  return fc.oneof(...types.map((type) => ofType(type, { schema, source, depth })))
}

interface Typed {
  readonly schema: Schema
  readonly source: SchemaSource
  readonly depth: number
}

function ofType(type: string | undefined, { depth, schema, source }: Typed): fc.Arbitrary<unknown> {
  switch (type) {
    case 'string':
      return text(schema)
    case 'integer':
      return fc.integer(limits(schema, { min: 0, max: 10_000 }))
    case 'number':
      return fc.double({ ...limits(schema, { min: -1e6, max: 1e6 }), noNaN: true })
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    case 'array': {
      const items = Array.isArray(schema.items) ? {} : (schema.items ?? {})
      const minLength = Math.min(schema.minItems ?? 0, maxEntries)
      if (depth > maxDepth) return fc.constant([])
      return fc.array(valuesOf(items, source, depth + 1), {
        minLength,
        maxLength: Math.max(minLength, Math.min(schema.maxItems ?? maxEntries, maxEntries)),
      })
    }
    case 'object':
      return object({ schema, source, depth })
    default:
      return anyJson
  }
}

function object({ depth, schema, source }: Typed): fc.Arbitrary<unknown> {
  const required = new Set(schema.required ?? [])
  const fields = Object.entries(schema.properties ?? {})
  if (fields.length === 0)
    return depth > maxDepth ? fc.constant({}) : fc.dictionary(fc.string(), anyJson, { maxKeys: 3 })
  return fc.record(
    Object.fromEntries(
      fields.map(([name, property]) => [
        name,
        hinted(name, source.hints, valuesOf(property, source, depth + 1)),
      ]),
    ),
    { requiredKeys: [...required] },
  )
}

/** Mostly what exists under that name, where something does. */
export function hinted(name: string, hints: Hints, values: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const known = hints[name]
  return known === undefined || known.length === 0
    ? values
    : fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...known) }, { weight: 1, arbitrary: values })
}

function text(schema: Schema): fc.Arbitrary<string> {
  const minLength = schema.minLength ?? 0
  const maxLength = Math.max(minLength, Math.min(schema.maxLength ?? 40, 40))
  if (schema.pattern !== undefined) return matching(schema.pattern)
  return fc.oneof(fc.string({ minLength, maxLength }), fc.string({ unit: 'grapheme', minLength, maxLength }))
}

/** Made once for each pattern: one of an id takes tens of milliseconds, and every operation takes ids. */
const matchingStrings = new Map<string, fc.Arbitrary<string>>()

function matching(pattern: string): fc.Arbitrary<string> {
  const made = matchingStrings.get(pattern) ?? fc.stringMatching(new RegExp(pattern))
  matchingStrings.set(pattern, made)
  return made
}

function limits({ exclusiveMinimum, maximum, minimum }: Schema, usual: { min: number; max: number }) {
  const above = typeof exclusiveMinimum === 'number' ? exclusiveMinimum : undefined
  const min = minimum ?? above ?? Math.min(usual.min, maximum ?? usual.min)
  return { min, max: Math.max(min, maximum ?? usual.max) }
}
