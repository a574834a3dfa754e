import type { AdapterSummary } from '../../shared/api/deployments.ts'
import type { AdapterDigest } from '../../shared/ids.ts'
import type { KvStore } from '../store/kv-store.ts'
import type { Parts } from '../store/stored-adapter.ts'
import { type Upload, uploadMs } from './adapter-table.ts'
import { admitUpload, beingRemoved, givenUp, nameUpload } from './admit-upload.ts'
import type { Delivery } from './delivery.ts'
import { type DirectoryChanges, noTenant } from './directory-changes.ts'
import { type Outcome, ok } from './outcome.ts'
import type { Tables } from './tables.ts'

/** An adapter whose bytes have arrived; `parts` is null where KV has it whole. */
export interface ArrivedAdapter {
  readonly adapter: Omit<AdapterSummary, 'createdAt'>
  readonly parts: Parts | null
}

interface AdapterUploadsOptions {
  readonly tables: Tables
  readonly changes: DirectoryChanges
  readonly delivery: Delivery
  readonly storage: Pick<DurableObjectStorage, 'transactionSync'>
  readonly store: Pick<KvStore, 'publishParts'>
}

/** The uploads of a tenant's adapters, from the room they take until the tenant has the adapter. */
export class AdapterUploads {
  readonly #options: AdapterUploadsOptions
  /** The last completion. */
  #completion: Promise<unknown> = Promise.resolve()

  constructor(options: AdapterUploadsOptions) {
    this.#options = options
  }

  async begin(upload: Upload): Promise<Outcome<AdapterSummary | null>> {
    const { delivery, tables } = this.#options
    const { adapters, tenant } = tables
    if (tenant.id === undefined) return noTenant()
    adapters.giveUp(tenant.id, Date.now() - uploadMs)
    const admission = admitUpload(upload, { tenant: tenant.id, tables })
    if (admission.ok && admission.value === null) adapters.reserve(upload)
    await delivery.wake()
    return admission
  }

  name(id: string, digest: AdapterDigest): Outcome<AdapterSummary | null> {
    const { adapters, tenant } = this.#options.tables
    return tenant.id === undefined ? noTenant() : nameUpload({ id, digest }, { tenant: tenant.id, adapters })
  }

  /** One at a time, as two may bring the same. */
  complete(upload: string, file: ArrivedAdapter): Promise<Outcome<AdapterSummary>> {
    const turn = this.#completion.then(() => this.#complete(upload, file))
    this.#completion = turn.catch(() => undefined)
    return turn
  }

  async abandon(upload: Upload): Promise<void> {
    const { adapters, tenant } = this.#options.tables
    const id = tenant.state?.id
    if (id !== undefined) await this.#discard(() => adapters.abandon(id, upload))
  }

  async #complete(upload: string, { adapter, parts }: ArrivedAdapter): Promise<Outcome<AdapterSummary>> {
    const { store, tables } = this.#options
    const { adapters, tenant } = tables
    const { id } = tenant
    const { digest } = adapter
    if (id === undefined) return noTenant()
    const isKnown = adapters.find(digest) !== undefined
    if (!isKnown && !adapters.hasUpload(upload)) return givenUp()
    if (parts === null || isKnown) return this.#add(upload, { adapter, parts })
    if (adapters.isBeingRemoved(id, digest)) return beingRemoved()
    try {
      await store.publishParts({ tenant: id, digest }, parts)
      return await this.#add(upload, { adapter, parts })
    } finally {
      // While the entry was written the upload may have been given up, or its tenant deleted.
      if (adapters.find(digest) === undefined) await this.#discard(() => adapters.discardEntry(id, digest))
    }
  }

  #add(upload: string, { adapter, parts }: ArrivedAdapter): Promise<Outcome<AdapterSummary>> {
    const { changes, tables } = this.#options
    const { adapters } = tables
    return changes.commit((id) => {
      const twin = adapters.find(adapter.digest)
      if (twin === undefined && !adapters.hasUpload(upload)) return givenUp()
      if (twin !== undefined) {
        adapters.abandon(id, { id: upload, ...twin })
        return ok(twin)
      }
      adapters.release(upload)
      const added = { ...adapter, createdAt: Date.now() }
      adapters.add(added, parts)
      return ok(added)
    })
  }

  /** Notes what is to leave KV, and removes it; the alarm goes on with what could not be removed. */
  async #discard(note: () => void): Promise<void> {
    const { delivery, storage } = this.#options
    storage.transactionSync(note)
    await delivery.deliver().catch(() => undefined)
  }
}
