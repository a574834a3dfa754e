import type { Context } from 'hono'
import { sha256Hex } from '../../shared/digest.ts'
import { openApiDocument } from '../openapi/document.ts'
import type { Operation } from '../openapi/operation.ts'
import { referencePage } from '../openapi/reference-page.ts'
import type { App } from '../request-context.ts'

interface Page {
  readonly text: string
  readonly etag: string
}

const cacheControl = 'public, max-age=300'
/** The page runs no script and loads nothing. */
const contentSecurity =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** The document of all `operations`, and the same as a page for people; each is built on first use, once per isolate. */
export function referenceOf(operations: () => readonly Operation[]) {
  // Values rather than promises: in a worker no request may wait for another's.
  let document: Page | undefined
  let reference: Page | undefined
  return {
    /** `GET /openapi.json`. */
    async getOpenApi(c: Context<App>): Promise<Response> {
      document ??= await page(JSON.stringify(openApiDocument(operations())))
      return answer(c, document, { 'content-type': 'application/json', 'access-control-allow-origin': '*' })
    },
    /** `GET /docs`. */
    async getReference(c: Context<App>): Promise<Response> {
      reference ??= await page(referencePage(openApiDocument(operations())))
      return answer(c, reference, {
        'content-type': 'text/html; charset=utf-8',
        'content-security-policy': contentSecurity,
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
      })
    },
  }
}

async function page(text: string): Promise<Page> {
  return { text, etag: `"${(await sha256Hex(text)).slice(0, 32)}"` }
}

function answer(c: Context<App>, { etag, text }: Page, headers: Record<string, string>): Response {
  const common = { etag, 'cache-control': cacheControl }
  const known =
    c.req
      .header('if-none-match')
      ?.split(',')
      .map((tag) => tag.trim().replace(/^W\//, '')) ?? []
  if (known.includes(etag) || known.includes('*')) return c.body(null, 304, common)
  return c.body(text, 200, { ...headers, ...common })
}
