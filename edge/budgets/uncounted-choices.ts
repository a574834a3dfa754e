import type { SettlementId } from '../../shared/ids.ts'
import { maxSettlementsPerCall, type Settlement, type SettlementsResponse } from '../../shared/settlement.ts'
import { type Charge, tokensOfCharge } from './exchange.ts'

/** A node's settlements, as one call reaches them. Throws when the node cannot be reached. */
export type Collect = (node: string, ids: readonly SettlementId[]) => Promise<SettlementsResponse>

export interface UncountedChoice {
  /** The charge, with the usage that the edge saw. */
  readonly charge: Charge
  /** Where its node is reached. */
  readonly node: string
  /** Milliseconds since 1970. */
  readonly since: number
  /** Called with the tokens that are charged, once no more questions are asked. */
  readonly counted: (tokens: number) => void
}

interface PendingCharge {
  readonly charge: Charge
  /**
   * The node that keeps its settlement. The edge's estimate is no receipt: the node keeps its own count, which then
   * counts.
   */
  readonly node: string | undefined
}

/** A node that does not answer is asked again for this long. */
const askedForMs = 30_000

/**
 * Choices that ended without their node's count, as a stop string or a leaving client makes the edge end them: the node
 * is asked for it. Without asking, such a choice would be charged by what the edge saw, 2 of 29 tokens where a client
 * leaves a fast stream (budgets.test.ts), until the node's heartbeat tells ten seconds later. A node that does not
 * answer holds up nobody's tokens: the edge's estimate is charged at once, and the node's own count takes its place
 * when it comes.
 */
export class UncountedChoices {
  #choices: { readonly choice: UncountedChoice; readonly isEstimated: boolean }[] = []

  /** The number of choices of which nothing has been told yet. */
  get count(): number {
    return this.#choices.filter(({ isEstimated }) => !isEstimated).length
  }

  add(choice: UncountedChoice): void {
    this.#choices.push({ choice, isEstimated: false })
  }

  /** Asks the nodes; returns what can be charged now. `isLast`: there may be no later call. */
  async resolve(
    collect: Collect,
    { isLast, now }: { now: number; isLast: boolean },
  ): Promise<PendingCharge[]> {
    const charges: PendingCharge[] = []
    for (const [node, all] of Map.groupBy(this.#choices.splice(0), ({ choice }) => choice.node)) {
      const pending = all.slice(0, maxSettlementsPerCall)
      this.#choices.push(...all.slice(maxSettlementsPerCall))
      const ids = pending.map(({ choice }) => choice.charge.id)
      const answer = await collect(node, ids).catch(() => undefined)
      for (const { choice, isEstimated } of pending) {
        const { charge, counted, since } = choice
        const settlement = answer?.settlements.find(({ id }) => id === charge.id)
        if (settlement !== undefined) {
          const own = countedBy(settlement, charge)
          counted(tokensOfCharge(own))
          charges.push({ charge: own, node })
          continue
        }
        const isRunning = answer?.running.includes(charge.id) === true
        const isOver = isLast || now - since > askedForMs || (answer !== undefined && !isRunning)
        // One that still works at it will tell soon, and more than what was seen.
        const isTold = isEstimated || !isRunning || isOver
        if (isTold && !isEstimated) charges.push({ charge, node: undefined })
        if (isOver) counted(tokensOfCharge(charge))
        else this.#choices.push({ choice, isEstimated: isTold })
      }
    }
    return charges
  }
}

/** The same charge with the node's own count. */
function countedBy({ firstTokenMs, usage }: Settlement, charge: Charge): Charge {
  return { ...charge, usage, firstTokenMs: charge.firstTokenMs ?? firstTokenMs, countedBy: 'node' }
}
