import type { TenantBudget } from '../budgets/tenant-budget.ts'
import type { ChangeFeed } from '../feed/change-feed.ts'
import type { TenantTraining } from '../fine-tuning/tenant-training.ts'
import type { StoreBindings } from '../store/bindings.ts'
import type { KvStore } from '../store/kv-store.ts'
import { projectDirectory } from './projection.ts'
import type { Tables } from './tables.ts'
import { adaptersRecord, tenantRecord } from './tenant-record.ts'

/** The bindings that a directory uses. */
export interface DirectoryBindings extends Pick<StoreBindings, 'STORE'> {
  readonly FEED: DurableObjectNamespace<ChangeFeed>
  readonly BUDGETS: DurableObjectNamespace<TenantBudget>
  readonly TRAINING: DurableObjectNamespace<TenantTraining>
}

/** A change that could not be delivered is tried again after this long. */
const retryMs = 1_000
/** KV keys that are deleted at once. */
const removalsAtOnce = 200

interface DeliveryOptions {
  readonly tables: Tables
  readonly storage: DurableObjectStorage
  readonly env: DirectoryBindings
  readonly store: KvStore
}

/** Tells the change feed, the tenant's budget, its files and jobs, and KV, in this order, what a directory has changed. */
export class Delivery {
  readonly #options: DeliveryOptions
  #turn: Promise<void> = Promise.resolve()

  constructor(options: DeliveryOptions) {
    this.#options = options
  }

  /**
   * Tells changes in order: a later state is never overwritten by an earlier one. Throws when the feed is away; the alarm
   * repeats it.
   */
  async deliver(): Promise<void> {
    await this.wake()
    const turn = this.#turn.then(() => this.#tell())
    this.#turn = turn.catch(() => undefined)
    await turn
  }

  /** Sets the alarm for what is left to do: telling, and giving up the oldest upload. An earlier alarm stays. */
  async wake(): Promise<void> {
    const { storage } = this.#options
    const due = this.#isDone() ? this.#options.tables.adapters.nextGiveUp() : Date.now() + retryMs
    const alarm = await storage.getAlarm()
    if (due !== undefined && (alarm === null || due < alarm)) await storage.setAlarm(due)
  }

  #isDone(): boolean {
    const { adapters, outbox } = this.#options.tables
    return outbox.isEmpty() && adapters.removals().length === 0
  }

  async #tell(): Promise<void> {
    const { env, storage, store, tables } = this.#options
    const { adapters, outbox, tenant } = tables
    const { state } = tenant
    if (state === undefined) return storage.deleteAlarm()
    const upTo = outbox.last()
    const keys = outbox.ids('key').map((sha256) => ({
      sha256,
      record: state.status === 'deleted' ? null : tables.keys.record(sha256, state.id),
    }))
    if (!outbox.isPublished()) {
      const { BUDGETS, FEED, TRAINING } = env
      await FEED.get(FEED.idFromName('feed')).publish([{ tenant: state, keys }])
      if (state.status === 'deleted') tenant.deletionTold(Date.now())
      if (outbox.ids('policy').length > 0)
        await BUDGETS.get(BUDGETS.idFromName(state.id)).setPolicy(tenant.policy, state.createdAt)
      if (outbox.ids('policy').length > 0 || state.status === 'deleted')
        await TRAINING.get(TRAINING.idFromName(state.id)).setTenancy(
          state.id,
          state.status === 'deleted' ? null : state.createdAt,
        )
      outbox.published(upTo)
    }
    const isProjected = await projectDirectory(store, {
      id: state.id,
      tenant: outbox.ids('tenant').length > 0,
      record: tenantRecord(tables),
      adapters: adaptersRecord(tables),
      keys,
      removals: adapters.removals().slice(0, removalsAtOnce),
      removed: (key) => adapters.removed(key),
    })
    if (isProjected) outbox.done(upTo)
    if (!isProjected || !this.#isDone()) return
    const due = adapters.nextGiveUp()
    if (due === undefined) await storage.deleteAlarm()
    else await storage.setAlarm(due)
  }
}
