import type { DescribedOperation, Document } from './document.ts'
import type { Schema } from './json-schema.ts'
import { style } from './reference-style.ts'
import { code, schemaDetails, schemaLabel, escapeHtml as text } from './schema-html.ts'

/** The document as one page of HTML for people: no script, nothing loaded from elsewhere. */
export function referencePage(document: Document): string {
  const { info, tags } = document
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method, path, operation })),
  )
  const groups = tags
    .map((tag) => ({ ...tag, of: operations.filter(({ operation }) => operation.tags.includes(tag.name)) }))
    .filter(({ of }) => of.length > 0)
  const menu = groups.map(
    ({ name, of }) =>
      `<h2>${text(name)}</h2><ul>${of.map(({ method, operation, path }) => menuEntry({ method, path, operation })).join('')}</ul>`,
  )
  const sections = groups.map(
    ({ description, name, of }) =>
      `<h2 class="tag">${text(name)}</h2><p>${code(description)}</p>${of.map(section).join('')}`,
  )
  const schemas = Object.entries(document.components.schemas).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${text(info.title)} API</title><style>${style}</style></head>
<body><nav><a class="home" href="#top">${text(info.title)} API</a>${menu.join('')}<h2><a href="#schemas">Schemas</a></h2></nav>
<main id="top"><h1>${text(info.title)} API <small>${text(info.version)}</small></h1>
<p>${code(info.summary)}</p>
<p>Every failure has OpenAI's shape (under /v1/messages Anthropic's), <a href="#schema-ErrorBody">ErrorBody</a>. Every answer names its request in
<code>x-request-id</code>. The same as <a href="/openapi.json">OpenAPI 3.1</a>.</p>
${sections.join('\n')}
<h2 class="tag" id="schemas">Schemas</h2>
${schemas.map(([name, schema]) => schemaSection(name, schema)).join('\n')}
</main></body></html>
`
}

interface Entry {
  readonly method: string
  readonly path: string
  readonly operation: DescribedOperation
}

function menuEntry({ method, operation, path }: Entry): string {
  return `<li><a href="#${text(operation.operationId)}">${badge(method)} ${text(path)}</a></li>`
}

const badge = (method: string): string => `<b class="${text(method)}">${text(method.toUpperCase())}</b>`

function section({ method, operation, path }: Entry): string {
  const { description, operationId, parameters = [], requestBody, responses, security, summary } = operation
  const needs = security.flatMap((way) => Object.keys(way))
  return `<section id="${text(operationId)}"><h3>${badge(method)} <code>${text(path)}</code></h3>
<p><strong>${code(summary)}</strong>${needs.length === 0 ? '' : ` <span class="auth">${text(needs.join(' or '))} key</span>`}</p>
${description === undefined ? '' : `<p>${code(description)}</p>`}
${parameters.length === 0 ? '' : `<h4>Parameters</h4>${parameterTable(parameters)}`}
${requestBody === undefined ? '' : `<h4>Body</h4>${requestBody.description === undefined ? '' : `<p>${code(requestBody.description)}</p>`}${media(requestBody.content)}`}
<h4>Answers</h4><table>${Object.entries(responses)
    .map(
      ([status, { content = {}, description: what }]) =>
        `<tr><td class="status s${status.charAt(0)}">${text(status)}</td><td>${code(what)}${Number(status) < 400 ? media(content) : ''}</td></tr>`,
    )
    .join('')}</table></section>`
}

function parameterTable(parameters: NonNullable<DescribedOperation['parameters']>): string {
  const rows = parameters.map(
    ({ description, in: where, name, required, schema }) =>
      `<tr><td><code>${text(name)}</code> <small>${text(where)}${required === true ? ', required' : ''}</small></td><td>${schemaLabel(schema)}${description === undefined ? '' : `<p>${code(description)}</p>`}</td></tr>`,
  )
  return `<table>${rows.join('')}</table>`
}

function media(content: Readonly<Record<string, { readonly schema: Schema }>>): string {
  return Object.entries(content)
    .map(
      ([type, { schema }]) =>
        `<div><small>${text(type)}</small> ${schemaLabel(schema)}${schemaDetails(schema)}</div>`,
    )
    .join('')
}

function schemaSection(name: string, schema: Schema): string {
  return `<section id="schema-${text(name)}"><h3><code>${text(name)}</code></h3>${schemaDetails(schema) || `<p>${schemaLabel(schema)}</p>`}</section>`
}
