import type { SettlementId } from '../../shared/ids.ts'
import { maxSettlementsPerCall, type SettlementsResponse } from '../../shared/settlement.ts'
import type { Charge } from './exchange.ts'
import { payable } from './meter.ts'

/** A node's settlements, as one call reaches them. Throws when the node cannot be reached. */
export type Collect = (node: string, ids: readonly SettlementId[]) => Promise<SettlementsResponse>

export interface UncountedChoice {
  /** With what the edge saw. */
  readonly charge: Charge
  /** Where its node is reached. */
  readonly node: string
  /** Milliseconds since 1970. */
  readonly since: number
  /** Told the tokens that are charged by the node's count. */
  readonly counted: (tokens: number) => void
}

/** After this long without an answer from the node what the edge saw is charged. */
const countLostMs = 30_000

/** Choices that ended without their node's count: it is asked for, for a while. */
export class UncountedChoices {
  #choices: UncountedChoice[] = []

  get count(): number {
    return this.#choices.length
  }

  add(choice: UncountedChoice): void {
    this.#choices.push(choice)
  }

  /** Asks the nodes; returns what can be charged now. */
  async resolve(
    collect: Collect,
    { missing, now }: { now: number; missing: 'wait' | 'charge' },
  ): Promise<{ charge: Charge; node: string | undefined }[]> {
    const charges: { charge: Charge; node: string | undefined }[] = []
    for (const [node, all] of Map.groupBy(this.#choices.splice(0), (choice) => choice.node)) {
      const choices = all.slice(0, maxSettlementsPerCall)
      this.#choices.push(...all.slice(maxSettlementsPerCall))
      const ids = choices.map(({ charge }) => charge.id)
      const answer = await collect(node, ids).catch(() => undefined)
      for (const choice of choices) {
        const charge = settled(choice, { answer, now }) ?? (missing === 'charge' ? choice.charge : undefined)
        if (charge === undefined) this.#choices.push(choice)
        // What the edge saw is no receipt: the node keeps its own count, which then takes that one's place.
        else charges.push({ charge, node: charge.countedBy === 'node' ? node : undefined })
      }
    }
    return charges
  }
}

/** Undefined while the node may still tell. */
function settled(
  { charge, counted, since }: UncountedChoice,
  { answer, now }: { answer: SettlementsResponse | undefined; now: number },
): Charge | undefined {
  const settlement = answer?.settlements.find(({ id }) => id === charge.id)
  if (settlement !== undefined) {
    const { firstTokenMs, usage } = settlement
    const { completion, prompt } = payable(charge.meter, usage)
    counted(prompt + completion)
    return { ...charge, usage, firstTokenMs: charge.firstTokenMs ?? firstTokenMs, countedBy: 'node' }
  }
  const isLost = answer !== undefined && !answer.running.includes(charge.id)
  // The rest of what was reserved stays held until the lease expires: the node's own word may still come.
  return isLost || now - since > countLostMs ? charge : undefined
}
