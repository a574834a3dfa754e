import type { SettlementId } from '../../shared/ids.ts'
import { Acknowledgements } from './acknowledgements.ts'
import type { Charge } from './exchange.ts'
import { type Collect, type UncountedChoice, UncountedChoices } from './uncounted-choices.ts'

const maxChargesPerExchange = 512

/**
 * Charges of an isolate that their owner has not acknowledged, from the end of a choice until its node may forget the
 * settlement.
 */
export class PendingCharges {
  /** Settlements that nodes may forget. */
  readonly acknowledgements = new Acknowledgements()
  readonly #uncounted = new UncountedChoices()
  /** The nodes that keep the settlements of charges which are under way. */
  readonly #keptBy = new Map<SettlementId, string>()
  #untold: { readonly charge: Charge; readonly node: string | undefined }[] = []

  /** Charges that the owner has not been told. */
  get count(): number {
    return this.#untold.length + this.#uncounted.count
  }

  /** Whether there is a charge to tell. */
  get hasNews(): boolean {
    return this.#untold.length > 0
  }

  /** `node` keeps the settlement of this charge. */
  add(charge: Charge, node?: string): void {
    this.#untold.push({ charge, node })
  }

  /** Adds the choice's charge once its node has told its count. */
  addUncounted(choice: UncountedChoice): void {
    this.#uncounted.add(choice)
  }

  /** Asks nodes for the counts that are missing. */
  async resolve(
    collect: Collect,
    options: { readonly now: number; readonly isLast: boolean },
  ): Promise<void> {
    this.#untold.push(...(await this.#uncounted.resolve(collect, options)))
  }

  /** The charges of the next exchange. */
  take(): Charge[] {
    return this.#untold.splice(0, maxChargesPerExchange).map(({ charge, node }) => {
      if (node !== undefined) this.#keptBy.set(charge.id, node)
      return charge
    })
  }

  /** The owner has these: their nodes may forget them. */
  acknowledge(charges: readonly Charge[]): void {
    for (const { id } of charges) {
      const node = this.#keptBy.get(id)
      this.#keptBy.delete(id)
      if (node !== undefined) this.acknowledgements.add(node, id)
    }
  }

  /** The owner may or may not have these: they are sent again. A charge counts once. */
  tellAnew(charges: readonly Charge[]): void {
    for (const charge of charges) this.#untold.push({ charge, node: this.#keptBy.get(charge.id) })
  }
}
