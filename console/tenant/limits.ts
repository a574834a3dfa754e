/** A limit of the tenant and what is left of it, as the headers of every answer tell it. */
export interface Limit {
  readonly label: string
  readonly limit: number
  readonly left: number
  readonly note: string
}

const kinds = [
  { name: 'tokens', label: 'Tokens', note: 'The tightest of the minute, the day and the month.' },
  { name: 'requests', label: 'Requests per minute', note: 'Per minute.' },
  { name: 'concurrent-requests', label: 'Requests at the same time', note: 'Returns as requests end.' },
] as const

export function limitsOf(headers: Headers): readonly Limit[] {
  return kinds.flatMap(({ label, name, note }) => {
    const limit = headers.get(`x-ratelimit-limit-${name}`)
    const left = headers.get(`x-ratelimit-remaining-${name}`)
    return limit === null || left === null ? [] : [{ label, note, limit: Number(limit), left: Number(left) }]
  })
}
