const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const compactFormat = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })
const dateTime = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short' })

export const number = (value: number): string => whole.format(value)
export const compact = (value: number): string => compactFormat.format(value)
/** `ms`: milliseconds since 1970. */
export const moment = (ms: number): string => dateTime.format(ms)
/** The first characters of a digest, enough to tell adapters apart. */
export const shortDigest = (digest: string): string => digest.slice(0, 12)

export function bytes(count: number): string {
  if (count < 1_000) return `${count} B`
  if (count < 1_000_000) return `${(count / 1_000).toFixed(0)} kB`
  return `${(count / 1_000_000).toFixed(1)} MB`
}

export function duration(ms: number): string {
  if (ms < 1_000) return `${ms.toFixed(0)} ms`
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`
  if (ms < 7_200_000) return `${(ms / 60_000).toFixed(0)} min`
  return `${(ms / 3_600_000).toFixed(0)} h`
}
