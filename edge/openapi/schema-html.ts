import type { Schema } from './json-schema.ts'

/** JSON Schemas as HTML. */

export const escapeHtml = (raw: string): string =>
  raw.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')

/** Text in which backquotes mark code. */
export const code = (raw: string): string => escapeHtml(raw).replaceAll(/`([^`]+)`/g, '<code>$1</code>')

/** A schema in a few words: its type and its bounds. */
export function schemaLabel(schema: Schema): string {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.slice(schema.$ref.lastIndexOf('/') + 1)
    return `<a href="#schema-${escapeHtml(name)}">${escapeHtml(name)}</a>`
  }
  const choices = schema.anyOf ?? schema.oneOf
  if (choices !== undefined) return [...new Set(choices.map(labelOf))].join(' or ')
  if (schema.const !== undefined) return value(schema.const)
  if (schema.enum !== undefined) return schema.enum.map(value).join(' or ')
  if (schema.type === 'array') {
    const { items } = schema
    const of = typeof items === 'object' && !Array.isArray(items) ? ` of ${labelOf(items)}` : ''
    return `array${of}${bounds(schema.minItems, schema.maxItems, ' entries')}`
  }
  const types = Array.isArray(schema.type) ? schema.type : [schema.type ?? 'anything']
  return escapeHtml(types.join(' or ')) + limits(schema)
}

const labelOf = (schema: Schema | boolean): string =>
  typeof schema === 'boolean' ? 'anything' : schemaLabel(schema)

const value = (given: unknown): string => `<code>${escapeHtml(JSON.stringify(given))}</code>`

function limits(schema: Schema): string {
  const pattern = schema.pattern === undefined ? '' : ` <code>${escapeHtml(schema.pattern)}</code>`
  const safe = (limit: number | undefined) =>
    limit !== undefined && Math.abs(limit) >= Number.MAX_SAFE_INTEGER ? undefined : limit
  const above = schema.exclusiveMinimum === undefined ? '' : ` above ${schema.exclusiveMinimum}`
  return (
    bounds(safe(schema.minimum), safe(schema.maximum), '') +
    above +
    bounds(schema.minLength, schema.maxLength, ' characters') +
    pattern
  )
}

function bounds(min: number | undefined, max: number | undefined, of: string): string {
  if (min === undefined && max === undefined) return ''
  if (min === undefined) return `, at most ${max}${of}`
  return max === undefined ? `, at least ${min}${of}` : `, ${min} to ${max}${of}`
}

/** An object's fields as a table; nothing for what has none. */
export function schemaDetails(schema: Schema): string {
  const properties = Object.entries(schema.properties ?? {})
  if (properties.length === 0) return inner(schema)
  const required = new Set(schema.required ?? [])
  const rows = properties.map(([name, property]) => {
    const field = typeof property === 'boolean' ? {} : property
    const notes = [
      ...(required.has(name) ? ['required'] : []),
      ...(field.default === undefined ? [] : [`default ${value(field.default)}`]),
    ]
    const described = field.description === undefined ? '' : `<p>${code(field.description)}</p>`
    return `<tr><td><code>${escapeHtml(name)}</code>${notes.length === 0 ? '' : ` <small>${notes.join(', ')}</small>`}</td><td>${schemaLabel(field)}${described}${inner(field)}</td></tr>`
  })
  return `<table>${rows.join('')}</table>`
}

/** The fields of objects inside: behind a click, so that the page stays readable. */
function inner(schema: Schema): string {
  const { items } = schema
  const inside = [
    ...(schema.properties === undefined ? [] : [schema]),
    ...(typeof items === 'object' && !Array.isArray(items) ? [items] : []),
    ...(schema.anyOf ?? schema.oneOf ?? []),
  ].filter((part): part is Schema => typeof part === 'object')
  const tables = inside.map((part) => (part.properties === undefined ? inner(part) : schemaDetails(part)))
  const shown = tables.filter((table) => table !== '').join('')
  return shown === '' || shown.startsWith('<details>')
    ? shown
    : `<details><summary>fields</summary>${shown}</details>`
}
