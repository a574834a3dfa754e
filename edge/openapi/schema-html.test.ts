import { expect, test } from 'vitest'
import type { Schema } from './json-schema.ts'
import { code, escapeHtml, schemaDetails, schemaLabel } from './schema-html.ts'

const hostile = `<img src="x">&'`
const escaped = '&lt;img src=&quot;x&quot;&gt;&amp;'

test('text is escaped once, and backquotes mark code', () => {
  expect(escapeHtml('a < b && c > "d"')).toBe('a &lt; b &amp;&amp; c &gt; &quot;d&quot;')
  expect(code('`<b>` is <i>')).toBe('<code>&lt;b&gt;</code> is &lt;i&gt;')
})

/** Every place of a schema that holds text of its author's. */
const schemas: [name: string, schema: Schema][] = [
  ['a reference', { $ref: `#/components/schemas/${hostile}` }],
  ['a constant', { const: hostile }],
  ['a choice', { enum: ['a', hostile] }],
  ['a pattern', { type: 'string', pattern: hostile }],
  ['a type', JSON.parse(JSON.stringify({ type: [hostile] }))],
  ['one of several', { anyOf: [{ type: 'null' }, { const: hostile }] }],
  ['an entry', { type: 'array', items: { const: hostile } }],
  ['a field’s name', { properties: { [hostile]: { type: 'string' } } }],
  ['a field’s description', { properties: { a: { type: 'string', description: hostile } } }],
  ['a field’s default', { properties: { a: { type: 'string', default: hostile } } }],
  ['a field inside', { properties: { a: { items: { properties: { b: { const: hostile } } } } } }],
]

test.each(schemas)('%s of a schema cannot become markup', (_name, schema) => {
  const html = schemaLabel(schema) + schemaDetails(schema)
  expect(html).not.toContain('<img')
  expect(html).not.toContain('="x"')
  expect(html.replaceAll('\\&quot;', '&quot;')).toContain(escaped)
})
