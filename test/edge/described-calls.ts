import { expect } from 'vitest'
import { openApiDocument } from '../../edge/openapi/document.ts'
import { routes } from '../../edge/routes/table/routes.ts'
import { DocumentedAnswers } from './documented-answers.ts'
import type { TestEdge } from './edge.ts'

interface Ask {
  readonly method?: string
  readonly path: string
  readonly key?: string | undefined
  readonly body?: unknown
  readonly headers?: Record<string, string>
  readonly isolate?: TestEdge
}

/** Calls the API's operations, and fails where the document does not describe the answer. */
export function describedCalls(edge: TestEdge) {
  const answers = new DocumentedAnswers(openApiDocument(routes))
  /** Operations that succeeded. */
  const succeeded = new Set<string>()

  /** The answer's status, headers and text, which the document describes. */
  async function asked({ body, headers = {}, isolate = edge, key, method = 'GET', path }: Ask) {
    const given = body === undefined || body instanceof Uint8Array ? body : JSON.stringify(body)
    const response = await isolate.fetch(path, {
      method,
      headers: { ...(key === undefined ? {} : { authorization: `Bearer ${key}` }), ...headers },
      ...(given === undefined ? {} : { body: given }),
    })
    const text = await response.text()
    const request = { method, path: new URL(path, 'http://edge').pathname }
    const problems = answers.problems({ ...request, response, text })
    expect(problems, `${method} ${path} → ${response.status} ${text.slice(0, 500)}`).toEqual([])
    const operation = answers.operation(request)
    expect(operation, `${method} ${path}`).toBeDefined()
    if (response.ok && operation !== undefined) succeeded.add(operation)
    return { status: response.status, headers: response.headers, text }
  }

  return { asked, succeeded }
}
