import { z } from 'zod'
import type { Session } from '../session/session.ts'
import { call } from './call.ts'

/** Entries that a list shows at most; whoever has more narrows the list or uses the API. */
const mostEntries = 2_000

/** Reads a list to its end, page by page, at most `mostEntries`. */
export async function readAll<S extends z.ZodType>(
  session: Session,
  entry: S,
  { path, signal }: { readonly path: string; readonly signal?: AbortSignal | undefined },
): Promise<z.output<S>[]> {
  const Page = z.object({ data: z.array(entry), last_id: z.string().nullable(), has_more: z.boolean() })
  const all: z.output<S>[] = []
  let after: string | undefined
  for (;;) {
    const query = new URLSearchParams(after === undefined ? {} : { after })
    const joined = after === undefined ? path : `${path}${path.includes('?') ? '&' : '?'}${query}`
    const page = await call(session, Page, { path: joined, signal })
    all.push(...page.data)
    if (!page.has_more || page.last_id === null || all.length >= mostEntries) return all
    after = page.last_id
  }
}
