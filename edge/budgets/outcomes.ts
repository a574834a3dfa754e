/** How a choice ends for usage: `stop`, `length`, an error code, or this: another model's failure ended its answer. */
const cutShort = 'cut_short'

/** Outcomes that a client brings about itself are no failures of the service, nor is another model's failure its own. */
const fine: ReadonlySet<string> = new Set(['stop', 'length', 'client_closed_request', cutShort])
const refused: ReadonlySet<string> = new Set(['queue_full', 'context_length_exceeded', 'grammar_invalid'])

/** Refused by every node before any work: such a request is none. */
export const isRefusal = (outcome: string): boolean => refused.has(outcome)

export const isFailure = (outcome: string): boolean => !fine.has(outcome) && !isRefusal(outcome)

/** How the answers of other models end that are not complete when one ends a request this way; the time is up for all. */
export const outcomeOfOthers = (outcome: string): string =>
  isFailure(outcome) && outcome !== 'deadline_exceeded' ? cutShort : outcome
