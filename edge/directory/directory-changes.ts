import type { TenantId } from '../../shared/ids.ts'
import type { Delivery } from './delivery.ts'
import { type Outcome, ok, refuse } from './outcome.ts'
import type { Tables } from './tables.ts'

export const noTenant = () =>
  refuse('not_found', 'no such tenant; create it with quartet tenant create or POST /admin/v1/tenants')

interface DirectoryChangesOptions {
  readonly tables: Tables
  readonly delivery: Delivery
  readonly storage: Pick<DurableObjectStorage, 'transactionSync'>
}

/** Commits changes of a tenant and has them told. */
export class DirectoryChanges {
  readonly #options: DirectoryChangesOptions

  constructor(options: DirectoryChangesOptions) {
    this.#options = options
  }

  /** Commits a change of an existing tenant, whole or not at all, and tells it. */
  async commit<T>(work: (id: TenantId) => Outcome<T>): Promise<Outcome<T>> {
    const { storage, tables } = this.#options
    const outcome = storage.transactionSync((): Outcome<T> => {
      const id = tables.tenant.id
      if (id === undefined) return noTenant()
      const outcome = work(id)
      if (!outcome.ok) return outcome
      tables.tenant.raiseVersion()
      tables.outbox.add('tenant', [id])
      return outcome
    })
    return outcome.ok ? this.delivered(outcome.value) : outcome
  }

  /** Tells what is committed, and returns `value`. */
  async delivered<T>(value: T): Promise<Outcome<T>> {
    try {
      await this.#options.delivery.deliver()
      return ok(value)
    } catch {
      return refuse(
        'control_unavailable',
        'the change is recorded, and takes effect as soon as it can be told everywhere; see whether it did',
      )
    }
  }
}
