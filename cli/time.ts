import { InvalidArgumentError } from 'commander'
import { z } from 'zod'

const unitMs = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** A date that ISO 8601 knows and the calendar has, as milliseconds since 1970. */
export function parseDate(text: string): number {
  return (
    momentOf(text) ?? refused('It must be a date of the calendar, like 2030-01-31 or 2030-01-31T12:00:00Z.')
  )
}

/** A moment to come, as milliseconds since 1970: `30d`, `12h`, `15m`, `now`, or what `parseDate` takes. */
export function parseMoment(text: string): number {
  if (text === 'now') return Date.now()
  const [, amount, unit] = /^([0-9]{1,6})([mhd])$/.exec(text) ?? []
  if (amount !== undefined && (unit === 'm' || unit === 'h' || unit === 'd'))
    return Date.now() + Number(amount) * unitMs[unit]
  const moment = momentOf(text) ?? refused('It must be like 30d, 12h, 15m or 2030-01-31T12:00:00Z.')
  return moment >= Date.now() ? moment : refused('It lies in the past; give a moment to come.')
}

/** `Date.parse` alone takes February 30 for March 2, and `5` for a day of 2001. */
function momentOf(text: string): number | undefined {
  const [, day] = /^([0-9]{4}-[0-9]{2}-[0-9]{2})(T.+)?$/.exec(text) ?? []
  const moment = Date.parse(text)
  return z.iso.date().safeParse(day).success && !Number.isNaN(moment) ? moment : undefined
}

function refused(why: string): never {
  throw new InvalidArgumentError(why)
}

export const formatMoment = (ms: number | null): string =>
  ms === null ? 'never' : new Date(ms).toISOString()
