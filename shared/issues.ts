import type { z } from 'zod'

const shown = 3
const maxCharacters = 200

/** Says in one short line what a schema found wrong. Hostile input can be wrong in a hundred thousand places. */
export function issuesOf({ issues }: z.ZodError): string {
  const texts = issues.slice(0, shown).map(({ message, path }) => {
    const place = path.map(String).join('.')
    return cut(place === '' ? message : `${place}: ${message}`)
  })
  const more = issues.length > shown ? [`and ${issues.length - shown} more`] : []
  return [...texts, ...more].join('; ')
}

function cut(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ')
  return line.length > maxCharacters ? `${line.slice(0, maxCharacters)}…` : line
}
