const minuteMs = 60_000
const dayMs = 86_400_000

/** The UTC day (`2026-11-24`) of a time in milliseconds since 1970. */
export const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10)
/** The UTC month (`2026-11`) of a day. */
export const monthOf = (day: string): string => day.slice(0, 7)
export const minuteOf = (ms: number): number => Math.floor(ms / minuteMs)

export const untilNextMinute = (ms: number): number => minuteMs - (ms % minuteMs)
export const untilNextDay = (ms: number): number => dayMs - (ms % dayMs)

export function untilNextMonth(ms: number): number {
  const now = new Date(ms)
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1) - ms
}
