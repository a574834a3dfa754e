import { expect, test } from 'vitest'
import { routes } from '../routes/table/routes.ts'
import { type Document, openApiDocument } from './document.ts'
import { referencePage } from './reference-page.ts'

const hostile = '<img src="x">'

/** Objects whose keys are names; a path's are methods. */
const named = /^(paths|\/.*|schemas|properties|responses|content)$/

const renamed = (value: object) =>
  Object.fromEntries(Object.entries(value).map(([name, of]) => [name + hostile, of]))

/** The document with markup in every text and in every name. */
function hostileDocument(): Document {
  const text = JSON.stringify(openApiDocument(routes), (key, value: unknown) => {
    if (typeof value === 'string') return value + hostile
    if (key === 'security' && Array.isArray(value)) return value.map(renamed)
    return named.test(key) && typeof value === 'object' && value !== null ? renamed(value) : value
  })
  return JSON.parse(text)
}

test('nothing of the document becomes markup on the page', () => {
  const html = referencePage(hostileDocument())
  expect(html.match(/&lt;img/g)?.length).toBeGreaterThan(500)
  expect(html).not.toMatch(/<img|src="/i)
})
