import { expect, test } from 'vitest'
import { type Document, openApiDocument } from './document.ts'
import { referencePage } from './reference-page.ts'

const hostile = '<img src="x">'

/** The document with markup in every text and in the names of paths, schemas and fields. */
function hostileDocument(): Document {
  const text = JSON.stringify(openApiDocument(), (key, value: unknown) => {
    if (typeof value === 'string') return value + hostile
    const isNamed = ['paths', 'schemas', 'properties'].includes(key)
    if (!isNamed || typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([name, named]) => [name + hostile, named]))
  })
  return JSON.parse(text)
}

test('nothing of the document becomes markup on the page', () => {
  const html = referencePage(hostileDocument())
  expect(html.match(/&lt;img/g)?.length).toBeGreaterThan(500)
  expect(html).not.toMatch(/<img|src="/)
})
