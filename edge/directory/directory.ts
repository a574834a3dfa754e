import { DurableObject } from 'cloudflare:workers'
import type { KeySummary, TenantStatus, TenantSummary } from '../../shared/api/admin.ts'
import {
  type AdapterSummary,
  type AliasSummary,
  type Deployment,
  maxAdaptersPerTenant,
} from '../../shared/api/deployments.ts'
import { TenantPolicy, type TenantPolicyChange } from '../../shared/api/policy.ts'
import { type AdapterDigest, type AliasName, type KeyId, TenantId } from '../../shared/ids.ts'
import type { TenantBudget } from '../budgets/tenant-budget.ts'
import type { Change, ChangeFeed, TenantState } from '../feed/change-feed.ts'
import type { AdaptersRecord, TenantRecord } from '../store/records.ts'
import { type Parts, publishParts } from '../store/stored-adapter.ts'
import { AdapterTable, type Upload, uploadMs } from './adapter-table.ts'
import { AliasTable } from './alias-table.ts'
import { decide, type Wish } from './decide.ts'
import { migrate } from './directory-schema.ts'
import { KeyTable, type NewKey } from './key-table.ts'
import { Outbox } from './outbox.ts'
import { type Outcome, ok, refuse } from './outcome.ts'
import { project } from './projection.ts'

/** What the worker binds for this object. */
export interface DirectoryBindings {
  readonly STORE: KVNamespace
  readonly FEED: DurableObjectNamespace<ChangeFeed>
  readonly BUDGETS: DurableObjectNamespace<TenantBudget>
}

const maxKeys = 500
/** What could not be delivered is tried again after this long. */
const retryMs = 1_000
/** KV keys that are deleted at once. */
const removalsAtOnce = 200

const noTenant = () =>
  refuse('not_found', 'no such tenant; create it with quartet tenant create or POST /admin/v1/tenants')

/**
 * One per tenant: the only owner and writer of its policy, keys, adapters and aliases. A change is committed here, then
 * told to the change feed and the tenant's budget, then projected into KV, where requests read it. A change that the
 * feed was not told is an error to the caller and is told later; KV may be late.
 */
export class TenantDirectory extends DurableObject<DirectoryBindings> {
  readonly #sql: SqlStorage
  readonly #keys: KeyTable
  readonly #adapters: AdapterTable
  readonly #aliases: AliasTable
  readonly #outbox: Outbox
  #delivery: Promise<void> = Promise.resolve()
  #completion: Promise<unknown> = Promise.resolve()

  constructor(ctx: DurableObjectState, env: DirectoryBindings) {
    super(ctx, env)
    this.#sql = ctx.storage.sql
    this.#keys = new KeyTable(this.#sql)
    this.#adapters = new AdapterTable(this.#sql)
    this.#aliases = new AliasTable(this.#sql)
    this.#outbox = new Outbox(this.#sql)
    const isOld = migrate(ctx.storage) && !this.#outbox.isEmpty()
    if (isOld) void ctx.blockConcurrencyWhile(() => this.#deliver().catch(() => undefined))
  }

  async create(id: TenantId, policy: TenantPolicy): Promise<Outcome<TenantSummary>> {
    const existing = this.#state()
    if (existing !== undefined && existing.status !== 'deleted')
      return refuse('conflict', `the tenant ${id} exists already`)
    if (this.#adapters.removals().length > 0)
      return refuse('conflict', `what the deleted tenant ${id} had is still being removed; retry`, 2)
    // Never that of a tenant before it, whatever the clock says.
    const createdAt = Math.max(Date.now(), (existing?.createdAt ?? 0) + 1)
    this.ctx.storage.transactionSync(() => {
      this.#sql.exec('DELETE FROM tenant')
      this.#sql.exec(
        'INSERT INTO tenant (id, created_at, version, status, policy) VALUES (?, ?, ?, ?, ?)',
        ...[id, createdAt, (existing?.version ?? 0) + 1, 'active', JSON.stringify(policy)],
      )
      this.#outbox.add('tenant', [id])
      this.#outbox.add('policy', [id])
    })
    return this.#delivered(this.#summary(id))
  }

  /** Changes what it names. */
  async change({
    policy,
    status,
  }: {
    policy?: TenantPolicyChange | undefined
    status?: TenantStatus | undefined
  }): Promise<Outcome<TenantSummary>> {
    return this.#change((id) => {
      if (status !== undefined) this.#sql.exec('UPDATE tenant SET status = ?', status)
      if (policy !== undefined) {
        const next = TenantPolicy.parse({ ...this.#policy(), ...policy })
        this.#sql.exec('UPDATE tenant SET policy = ?', JSON.stringify(next))
        this.#outbox.add('policy', [id])
      }
      return ok(this.#summary(id))
    })
  }

  /** Nothing of the tenant works from then on; its bytes leave KV after it. What it used stays on record. */
  async remove(): Promise<Outcome<null>> {
    return this.#change((id) => {
      this.#outbox.add('key', this.#keys.hashes())
      this.#keys.clear()
      this.#aliases.clear()
      this.#adapters.giveUp(id, Number.MAX_SAFE_INTEGER)
      for (const { digest } of this.#adapters.list()) this.#adapters.remove(id, digest)
      this.#sql.exec(`UPDATE tenant SET status = 'deleted'`)
      return ok(null)
    })
  }

  async summary(): Promise<Outcome<TenantSummary>> {
    const id = this.#id()
    return id === undefined ? noTenant() : ok(this.#summary(id))
  }

  /** What requests need to know, past KV; undefined when there is no such tenant. */
  async record(): Promise<TenantRecord | undefined> {
    return this.#record()
  }

  async adaptersRecord(): Promise<AdaptersRecord | undefined> {
    const state = this.#state()
    return state && { version: state.version, adapters: this.#adapters.list() }
  }

  /** How a key and its tenant stand, as the feed would tell it. */
  async verdict(sha256: string): Promise<readonly Change[]> {
    const state = this.#state()
    if (state === undefined) return [{ kind: 'key', id: sha256, record: null }]
    return [
      { kind: 'key', id: sha256, record: this.#keys.record(sha256, state.id) },
      { kind: 'tenant', id: state.id, version: state.version },
    ]
  }

  async addKey(key: NewKey): Promise<Outcome<null>> {
    return this.#change(() => {
      if (this.#keys.list().length >= maxKeys)
        return refuse('conflict', `a tenant has at most ${maxKeys} keys; revoke some`)
      this.#keys.add(key)
      this.#outbox.add('key', [key.sha256])
      return ok(null)
    })
  }

  async expireKey(keyId: KeyId, expiresAt: number | null): Promise<Outcome<KeySummary>> {
    return this.#change(() => {
      const sha256 = this.#keys.hashOf(keyId)
      this.#keys.expire(keyId, expiresAt)
      const key = this.#keys.list().find(({ id }) => id === keyId)
      if (sha256 === undefined || key === undefined)
        return refuse('not_found', `no key ${keyId} in this tenant`)
      this.#outbox.add('key', [sha256])
      return ok(key)
    })
  }

  async revokeKey(keyId: KeyId): Promise<Outcome<null>> {
    return this.#change(() => {
      const sha256 = this.#keys.hashOf(keyId)
      if (sha256 === undefined) return refuse('not_found', `no key ${keyId} in this tenant`)
      this.#keys.remove(keyId)
      this.#outbox.add('key', [sha256])
      return ok(null)
    })
  }

  /**
   * Takes room for a file before its bytes are written: `adapter_storage_exceeded` when there is none. The value is the
   * adapter when the tenant has it already, and nothing needs to be written.
   */
  async beginUpload(upload: Upload): Promise<Outcome<AdapterSummary | null>> {
    const { bytes, digest } = upload
    const id = this.#id()
    if (id === undefined) return noTenant()
    const existing = digest === null ? undefined : this.#adapters.find(digest)
    if (existing !== undefined) return ok(existing)
    if (digest !== null && this.#adapters.isBeingRemoved(id, digest))
      return refuse('conflict', 'this adapter was deleted a moment ago and is still being removed; retry', 2)
    if (this.#adapters.count() + this.#adapters.uploads() >= maxAdaptersPerTenant)
      return refuse(
        'adapter_storage_exceeded',
        `a tenant has at most ${maxAdaptersPerTenant} adapters; delete some`,
      )
    const allowed = this.#policy().adapterBytes
    const held = this.#adapters.bytesBeside(digest)
    if (allowed !== null && held + bytes > allowed)
      return refuse(
        'adapter_storage_exceeded',
        `the adapter has ${bytes} bytes and ${Math.max(0, allowed - held)} of the ${allowed} that this tenant may store are left; delete adapters or have the limit raised`,
      )
    this.#adapters.reserve(upload)
    await this.ctx.storage.setAlarm(Date.now() + uploadMs)
    return ok(null)
  }

  /** The bytes are all in KV: from now on the tenant has the adapter. One at a time, as two may bring the same. */
  async completeUpload(
    upload: string,
    file: { readonly adapter: Omit<AdapterSummary, 'createdAt'>; readonly parts: Parts | null },
  ): Promise<Outcome<AdapterSummary>> {
    const turn = this.#completion.then(() => this.#complete(upload, file))
    this.#completion = turn.catch(() => undefined)
    return turn
  }

  async #complete(
    upload: string,
    { adapter, parts }: { adapter: Omit<AdapterSummary, 'createdAt'>; parts: Parts | null },
  ): Promise<Outcome<AdapterSummary>> {
    const id = this.#id()
    if (id === undefined) return noTenant()
    const isKnown = this.#adapters.find(adapter.digest) !== undefined
    if (parts !== null && !isKnown)
      await publishParts(this.env.STORE, { tenant: id, digest: adapter.digest }, parts)
    return this.#change(() => {
      const twin = this.#adapters.find(adapter.digest)
      if (twin === undefined && !this.#adapters.hasUpload(upload))
        return refuse('conflict', 'the upload took too long and was given up; repeat it')
      this.#adapters.release(upload)
      if (twin !== undefined) {
        if (parts !== null) this.#adapters.discardParts(id, parts)
        return ok(twin)
      }
      const added = { ...adapter, createdAt: Date.now() }
      this.#adapters.add(added, parts)
      return ok(added)
    })
  }

  /** Gives an upload's room back, and removes what it wrote. */
  async abandonUpload(upload: Upload): Promise<void> {
    const id = this.#id()
    if (id === undefined || !this.#adapters.hasUpload(upload.id)) return
    this.ctx.storage.transactionSync(() => this.#adapters.abandon(id, upload))
    await this.#deliver()
  }

  async deleteAdapter(digest: AdapterDigest): Promise<Outcome<null>> {
    return this.#change((id) => {
      if (this.#adapters.find(digest) === undefined)
        return refuse('not_found', `this tenant has no adapter ${digest}`)
      const holder = this.#aliases.holder(digest)
      if (holder !== undefined)
        return refuse(
          'adapter_in_use',
          `the alias ${holder} sends requests to this adapter; move or delete the alias first`,
        )
      this.#adapters.remove(id, digest)
      return ok(null)
    })
  }

  /** Moves an alias. The value is the alias from now on; null when it was deleted. */
  async move(wish: Wish): Promise<Outcome<AliasSummary | null>> {
    return this.#change(() => {
      const decided = decide(wish, { aliases: this.#aliases, adapters: this.#adapters })
      if (!decided.ok) return decided
      if (decided.value !== null) this.#aliases.record(decided.value)
      return ok(this.#aliases.find(wish.alias) ?? null)
    })
  }

  async history(
    alias: AliasName,
    page: { before: number | undefined; limit: number },
  ): Promise<Outcome<Deployment[]>> {
    if (this.#id() === undefined) return noTenant()
    const history = this.#aliases.history(alias, page)
    return history.length > 0 || page.before !== undefined
      ? ok(history)
      : refuse('not_found', `this tenant has no alias ${alias}`)
  }

  override async alarm(): Promise<void> {
    const id = this.#id()
    if (id !== undefined) this.#adapters.giveUp(id, Date.now() - uploadMs)
    await this.#deliver().catch((thrown: unknown) =>
      console.error(
        JSON.stringify({ message: 'a change of a tenant was not told yet', cause: String(thrown) }),
      ),
    )
  }

  /** Commits a change of an existing tenant, whole or not at all, and tells it. */
  async #change<T>(work: (id: TenantId) => Outcome<T>): Promise<Outcome<T>> {
    const outcome = this.ctx.storage.transactionSync((): Outcome<T> => {
      const id = this.#id()
      if (id === undefined) return noTenant()
      const outcome = work(id)
      if (!outcome.ok) return outcome
      this.#sql.exec('UPDATE tenant SET version = version + 1')
      this.#outbox.add('tenant', [id])
      return outcome
    })
    return outcome.ok ? this.#delivered(outcome.value) : outcome
  }

  async #delivered<T>(value: T): Promise<Outcome<T>> {
    try {
      await this.#deliver()
      return ok(value)
    } catch {
      return refuse(
        'control_unavailable',
        'the change is recorded, and takes effect as soon as it can be told everywhere; see whether it did',
        5,
      )
    }
  }

  /** Tells what changed, in order: a later state is never overwritten by an earlier one. Throws when the feed is away. */
  async #deliver(): Promise<void> {
    await this.ctx.storage.setAlarm(Date.now() + retryMs)
    const turn = this.#delivery.then(() => this.#tell())
    this.#delivery = turn.catch(() => undefined)
    await turn
  }

  async #tell(): Promise<void> {
    const state = this.#state()
    if (state === undefined) return this.ctx.storage.deleteAlarm()
    const upTo = this.#outbox.last()
    const keys = this.#outbox.ids('key').map((sha256) => ({
      sha256,
      record: state.status === 'deleted' ? null : this.#keys.record(sha256, state.id),
    }))
    if (!this.#outbox.isPublished()) {
      const { BUDGETS, FEED } = this.env
      await FEED.get(FEED.idFromName('feed')).publish([{ tenant: state, keys }])
      if (this.#outbox.ids('policy').length > 0)
        await BUDGETS.get(BUDGETS.idFromName(state.id)).setPolicy(this.#policy(), state.createdAt)
      this.#outbox.published(upTo)
    }
    const isProjected = await project(this.env.STORE, {
      id: state.id,
      tenant: this.#outbox.ids('tenant').length > 0,
      record: this.#record(),
      adapters: await this.adaptersRecord(),
      keys,
      removals: this.#adapters.removals().slice(0, removalsAtOnce),
      removed: (key) => this.#adapters.removed(key),
    })
    if (isProjected) this.#outbox.done(upTo)
    if (!isProjected || !this.#outbox.isEmpty() || this.#adapters.removals().length > 0) return
    if (this.#adapters.uploads() === 0) await this.ctx.storage.deleteAlarm()
    else await this.ctx.storage.setAlarm(Date.now() + uploadMs)
  }

  #state(): TenantState | undefined {
    const [row] = this.#sql
      .exec<{ id: string; created_at: number; version: number; status: TenantState['status'] }>(
        'SELECT * FROM tenant',
      )
      .toArray()
    return (
      row && {
        id: TenantId.parse(row.id),
        createdAt: row.created_at,
        version: row.version,
        status: row.status,
      }
    )
  }

  #id(): TenantId | undefined {
    const state = this.#state()
    return state?.status === 'deleted' ? undefined : state?.id
  }

  #policy(): TenantPolicy {
    const { policy } = this.#sql.exec<{ policy: string }>('SELECT policy FROM tenant').one()
    return TenantPolicy.parse(JSON.parse(policy))
  }

  #summary(id: TenantId): TenantSummary {
    const state = this.#state()
    return {
      id,
      createdAt: state?.createdAt ?? 0,
      status: state?.status === 'suspended' ? 'suspended' : 'active',
      policy: this.#policy(),
      keys: this.#keys.list(),
      adapters: this.#adapters.list(),
      aliases: this.#aliases.list(),
    }
  }

  #record(): TenantRecord | undefined {
    const state = this.#state()
    if (state === undefined || state.status === 'deleted') return undefined
    const adapters = new Map(this.#adapters.list().map((adapter) => [adapter.digest, adapter]))
    const target = (digest: AdapterDigest) => {
      const adapter = adapters.get(digest)
      return adapter && { digest, backbone: adapter.backbone, rows: adapter.rows }
    }
    const aliases = this.#aliases.list().flatMap(({ alias, canary, digest, updatedAt, version }) => {
      const stable = target(digest)
      const trial = canary && target(canary.digest)
      if (stable === undefined) return []
      const { by, percent } = canary ?? { by: 'request', percent: 0 }
      return [
        [
          alias,
          { ...stable, updatedAt, version, ...(trial && { canary: { ...trial, by, percent } }) },
        ] as const,
      ]
    })
    return {
      id: state.id,
      createdAt: state.createdAt,
      version: state.version,
      status: state.status,
      policy: this.#policy(),
      aliases: Object.fromEntries(aliases),
    }
  }
}
