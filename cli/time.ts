import { InvalidArgumentError } from 'commander'

const unitMs = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** A moment to come, as milliseconds since 1970: `30d`, `12h`, `15m`, `now`, or a date that ISO 8601 knows. */
export function parseMoment(text: string): number {
  if (text === 'now') return Date.now()
  const [, amount, unit] = /^([0-9]{1,6})([mhd])$/.exec(text) ?? []
  if (amount !== undefined && (unit === 'm' || unit === 'h' || unit === 'd'))
    return Date.now() + Number(amount) * unitMs[unit]
  const moment = /^[0-9]{4}-/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(moment))
    throw new InvalidArgumentError('It must be like 30d, 12h, 15m or 2030-01-31T12:00:00Z.')
  return moment
}

export const formatMoment = (ms: number | null): string =>
  ms === null ? 'never' : new Date(ms).toISOString()
