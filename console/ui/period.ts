const dayMs = 86_400_000

export type Period = '7' | '30' | '90'

export const periods: readonly { readonly value: Period; readonly label: string }[] = [
  { value: '7', label: 'Last 7 days' },
  { value: '30', label: 'Last 30 days' },
  { value: '90', label: 'Last 90 days' },
]

const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10)

/** The first UTC day of a period that ends today. */
export const startOf = (period: Period): string => dayOf(Date.now() - (Number(period) - 1) * dayMs)

/** Every UTC day from `from` up to today. */
export function daysFrom(from: string): readonly string[] {
  const days: string[] = []
  for (let ms = Date.parse(from); ms <= Date.now(); ms += dayMs) days.push(dayOf(ms))
  return days
}
