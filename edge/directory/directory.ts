import { DurableObject } from 'cloudflare:workers'
import type { ChangeKeyRequest, KeySummary, TenantStatus, TenantSummary } from '../../shared/api/admin.ts'
import type { AdapterSummary, AliasSummary, Deployment } from '../../shared/api/deployments.ts'
import type { TenantPolicy, TenantPolicyChange } from '../../shared/api/policy.ts'
import type { AdapterDigest, AliasName, KeyId, TenantId } from '../../shared/ids.ts'
import type { Change } from '../feed/change-feed.ts'
import { KvStore } from '../store/kv-store.ts'
import type { AdaptersRecord, TenantRecord } from '../store/records.ts'
import { type Upload, uploadMs } from './adapter-table.ts'
import { AdapterUploads, type ArrivedAdapter } from './adapter-uploads.ts'
import { decideMove, type MoveRequest } from './decide-move.ts'
import { Delivery, type DirectoryBindings } from './delivery.ts'
import { DirectoryChanges, noTenant } from './directory-changes.ts'
import { schema } from './directory-schema.ts'
import type { NewKey } from './key-table.ts'
import { type Outcome, ok, refuse } from './outcome.ts'
import { type Tables, tablesOf } from './tables.ts'
import { adaptersRecord, tenantRecord, tenantSummary } from './tenant-record.ts'
import { deletionBoundMs } from './tenant-table.ts'

const maxKeys = 500

/**
 * One per tenant: the only owner and writer of its policy, keys, adapters and aliases. A change is committed here, then
 * told to the change feed and the tenant's budget, then projected into KV, where requests read it. A change that the
 * feed was not told is an error to the caller and is told later; KV may be late.
 */
export class TenantDirectory extends DurableObject<DirectoryBindings> {
  readonly #tables: Tables
  readonly #delivery: Delivery
  readonly #changes: DirectoryChanges
  readonly #uploads: AdapterUploads

  constructor(ctx: DurableObjectState, env: DirectoryBindings) {
    super(ctx, env)
    ctx.storage.sql.exec(schema)
    const tables = tablesOf(ctx.storage.sql)
    const store = new KvStore(env.STORE)
    this.#tables = tables
    this.#delivery = new Delivery({ env, store, tables, storage: ctx.storage })
    const changes = new DirectoryChanges({ tables, delivery: this.#delivery, storage: ctx.storage })
    this.#changes = changes
    this.#uploads = new AdapterUploads({
      changes,
      store,
      tables,
      delivery: this.#delivery,
      storage: ctx.storage,
    })
  }

  async create(id: TenantId, policy: TenantPolicy): Promise<Outcome<TenantSummary>> {
    const { adapters, outbox, tenant } = this.#tables
    const existing = tenant.state
    if (existing !== undefined && existing.status !== 'deleted')
      return refuse('conflict', `the tenant ${id} exists already`)
    const waitMs = outbox.isPublished() ? tenant.nameTakenMs(Date.now()) : deletionBoundMs
    if (existing !== undefined && waitMs > 0)
      return refuse(
        'conflict',
        `the tenant ${id} was deleted just now, and isolates may let its keys in for a moment longer; retry`,
        { isTransient: true, retryAfterSeconds: Math.ceil(waitMs / 1_000) },
      )
    if (adapters.removals().length > 0)
      return refuse('conflict', `what the deleted tenant ${id} had is still being removed; retry`, {
        isTransient: true,
      })
    // Later than that of an earlier tenant of this name, even if the clock went back.
    const createdAt = Math.max(Date.now(), (existing?.createdAt ?? 0) + 1)
    this.ctx.storage.transactionSync(() => {
      tenant.create({ id, createdAt, policy })
      outbox.add('tenant', [id])
      outbox.add('policy', [id])
    })
    return this.#changes.delivered(tenantSummary(id, this.#tables))
  }

  /** Changes what it names. */
  async change({
    policy,
    status,
  }: {
    policy?: TenantPolicyChange | undefined
    status?: TenantStatus | undefined
  }): Promise<Outcome<TenantSummary>> {
    return this.#changes.commit((id) => {
      if (status !== undefined) this.#tables.tenant.setStatus(status)
      if (policy !== undefined) {
        this.#tables.tenant.changePolicy(policy)
        this.#tables.outbox.add('policy', [id])
      }
      return ok(tenantSummary(id, this.#tables))
    })
  }

  /** Nothing of the tenant works from then on; its bytes leave KV after it. Its usage stays on record. */
  async remove(): Promise<Outcome<null>> {
    return this.#changes.commit((id) => {
      const { adapters, aliases, keys, outbox, tenant } = this.#tables
      outbox.add('key', keys.hashes())
      keys.clear()
      aliases.clear()
      adapters.giveUp(id, Number.MAX_SAFE_INTEGER)
      for (const { digest } of adapters.list()) adapters.remove(id, digest)
      tenant.setStatus('deleted')
      return ok(null)
    })
  }

  async summary(): Promise<Outcome<TenantSummary>> {
    const id = this.#tables.tenant.id
    return id === undefined ? noTenant() : ok(tenantSummary(id, this.#tables))
  }

  /** The record that requests read, past KV; undefined when there is no such tenant. */
  async record(): Promise<TenantRecord | undefined> {
    return tenantRecord(this.#tables)
  }

  async adaptersRecord(): Promise<AdaptersRecord | undefined> {
    return adaptersRecord(this.#tables)
  }

  /** How a key and its tenant stand, as the feed would tell it. */
  async verdict(sha256: string): Promise<readonly Change[]> {
    const state = this.#tables.tenant.state
    if (state === undefined) return [{ kind: 'key', id: sha256, record: null }]
    return [
      { kind: 'key', id: sha256, record: this.#tables.keys.record(sha256, state.id) },
      { kind: 'tenant', id: state.id, version: state.version },
    ]
  }

  async addKey(key: NewKey): Promise<Outcome<null>> {
    return this.#changes.commit(() => {
      if (this.#tables.keys.list().length >= maxKeys)
        return refuse('conflict', `a tenant has at most ${maxKeys} keys; revoke some`)
      this.#tables.keys.add(key)
      this.#tables.outbox.add('key', [key.sha256])
      return ok(null)
    })
  }

  async changeKey(keyId: KeyId, change: ChangeKeyRequest): Promise<Outcome<KeySummary>> {
    return this.#changes.commit(() => {
      const sha256 = this.#tables.keys.hashOf(keyId)
      this.#tables.keys.change(keyId, change)
      const key = this.#tables.keys.list().find(({ id }) => id === keyId)
      if (sha256 === undefined || key === undefined)
        return refuse('not_found', `no key ${keyId} in this tenant`)
      this.#tables.outbox.add('key', [sha256])
      return ok(key)
    })
  }

  async revokeKey(keyId: KeyId): Promise<Outcome<null>> {
    return this.#changes.commit(() => {
      const sha256 = this.#tables.keys.hashOf(keyId)
      if (sha256 === undefined) return refuse('not_found', `no key ${keyId} in this tenant`)
      this.#tables.keys.remove(keyId)
      this.#tables.outbox.add('key', [sha256])
      return ok(null)
    })
  }

  /**
   * Takes room for a file before its bytes are written: `adapter_storage_exceeded` when there is none. The value is the
   * adapter when the tenant has it already, and nothing needs to be written.
   */
  async beginUpload(upload: Upload): Promise<Outcome<AdapterSummary | null>> {
    return this.#uploads.begin(upload)
  }

  /**
   * Says which file an upload that began without a digest has brought, before its bytes are written under it. The value
   * is the adapter when the tenant has it already: the caller then ends the upload.
   */
  async nameUpload(id: string, digest: AdapterDigest): Promise<Outcome<AdapterSummary | null>> {
    return this.#uploads.name(id, digest)
  }

  /** The bytes are all in KV: from now on the tenant has the adapter. One at a time, as two may bring the same. */
  async completeUpload(upload: string, file: ArrivedAdapter): Promise<Outcome<AdapterSummary>> {
    return this.#uploads.complete(upload, file)
  }

  /** Gives an upload's room back, if it still has it, and removes what it wrote. */
  async abandonUpload(upload: Upload): Promise<void> {
    await this.#uploads.abandon(upload)
  }

  async deleteAdapter(digest: AdapterDigest): Promise<Outcome<null>> {
    return this.#changes.commit((id) => {
      if (this.#tables.adapters.find(digest) === undefined)
        return refuse('not_found', `this tenant has no adapter ${digest}`)
      const holder = this.#tables.aliases.holder(digest)
      if (holder !== undefined)
        return refuse(
          'adapter_in_use',
          `the alias ${holder} sends requests to this adapter; move or delete the alias first`,
        )
      this.#tables.adapters.remove(id, digest)
      return ok(null)
    })
  }

  /** Moves an alias. The value is the alias from now on; null when it was deleted. */
  async move(request: MoveRequest): Promise<Outcome<AliasSummary | null>> {
    return this.#changes.commit(() => {
      const { policy, state } = this.#tables.tenant
      // An upload that has an alias moved in the end may be older than the tenant of this name.
      if (request.tenancy !== undefined && request.tenancy !== state?.createdAt) return noTenant()
      if (request.aim.action === 'shadow' && policy.shadowTokensPerDay === 0)
        return refuse(
          'conflict',
          'the policy of this tenant has no tokens for shadows; an operator sets shadowTokensPerDay (quartet tenant limit TENANT --shadow-tokens-per-day N)',
        )
      const decided = decideMove(request, { aliases: this.#tables.aliases, adapters: this.#tables.adapters })
      if (!decided.ok) return decided
      if (decided.value !== null) this.#tables.aliases.record(decided.value)
      return ok(this.#tables.aliases.find(request.alias) ?? null)
    })
  }

  async history(
    alias: AliasName,
    page: { before: number | undefined; limit: number },
  ): Promise<Outcome<Deployment[]>> {
    if (this.#tables.tenant.id === undefined) return noTenant()
    const history = this.#tables.aliases.history(alias, page)
    return history.length > 0 || page.before !== undefined
      ? ok(history)
      : refuse(
          'not_found',
          `this tenant has no alias ${alias}, and had none of late; GET …/aliases lists those there are`,
        )
  }

  override async alarm(): Promise<void> {
    const id = this.#tables.tenant.id
    if (id !== undefined) this.#tables.adapters.giveUp(id, Date.now() - uploadMs)
    await this.#delivery
      .deliver()
      .catch((thrown: unknown) =>
        console.error(
          JSON.stringify({ message: 'a change of a tenant was not told yet', cause: String(thrown) }),
        ),
      )
  }
}
